"""Error answers of the page's routes: pages, never JSON documents."""

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from services.reporting.pages.responder import PageResponder
from shared.runtime.delivery.backoff import is_transient
from shared.runtime.http.middleware import ProblemError
from shared.runtime.process import logging

NOT_FOUND = 404
OnError = Callable[[Request, Exception], Awaitable[Response]]
_Handler = Callable[[Request], Coroutine[Any, Any, Response]]


def page_route(responder: PageResponder) -> type[APIRoute]:
    """Create a route class that answers refusals and unexpected errors with a page."""
    log = logging.get("pages")

    class PageRoute(APIRoute):
        """A route of the page."""

        def get_route_handler(self) -> _Handler:
            """Wrap the handler."""
            inner = super().get_route_handler()

            async def guarded(request: Request) -> Response:
                try:
                    return await inner(request)
                except (ProblemError, HTTPException) as problem:
                    known = problem if isinstance(problem, ProblemError) else problem.status_code
                    return responder.message(await responder.signed_in(request, renew=False), known)
                except Exception as error:
                    if is_transient(error):
                        return responder.message(None, 503)
                    log.exception("page_failed", route=self.path)
                    return responder.message(None, 500, getattr(request.state, "correlation_id", None))

            return guarded

    return PageRoute


def page_not_found(responder: PageResponder, otherwise: OnError) -> OnError:
    """Create a handler of 404 that answers browsers with a page.

    All other errors go to ``otherwise``.
    """

    async def handler(request: Request, error: Exception) -> Response:
        browses = "text/html" in request.headers.get("accept", "") and not request.url.path.startswith("/v1/")
        if browses and isinstance(error, HTTPException) and error.status_code == NOT_FOUND:
            return responder.message(await responder.signed_in(request), NOT_FOUND)
        return await otherwise(request, error)

    return handler
