"""API routes that refuse any part of a request that they do not know.

They refuse it by name, instead of ignoring it.
"""

import json
from collections.abc import Callable, Coroutine, Iterable, Iterator
from typing import Any

from fastapi import Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from shared import media_types
from shared.runtime.http import query_parameters
from shared.runtime.http.problems import ProblemError, problem

JSON = "application/json"
PRECONDITIONS = ("if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range")
Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class ApiRoute(APIRoute):
    """The strict route of every API; see docs/http.md.

    Use it as ``APIRouter(route_class=ApiRoute)``.

    Query parameters must be known, given once and not empty. A body must be JSON without repeated members. A write with
    a precondition that the route does not check is refused.
    """

    def get_route_handler(self) -> Handler:
        """FastAPI's handler, after these checks."""
        inner = super().get_route_handler()
        known = frozenset(_query_names(self.dependant))
        conditions = frozenset(_header_names(self.dependant))
        is_write = bool((self.methods or set()) - {"GET", "HEAD"})
        takes_body = self.body_field is not None
        may_lack_it = self.body_field is not None and not self.body_field.field_info.is_required()

        async def guarded(request: Request) -> Response:
            query_parameters.read(request.scope["query_string"], known)
            if is_write:
                _refuse_unread(request, conditions)
            if takes_body and not (may_lack_it and _has_no_body(request)):
                content_type = media_types.parse(request.headers.get("content-type", ""))
                if content_type is None or content_type.name != JSON or not content_type.is_json:
                    return problem(415, "unsupported_media_type", f"The body must be {JSON}.")
                request = _JsonRequest(request.scope, request.receive)
            return await inner(request)

        return guarded


class _JsonRequest(Request):
    async def json(self) -> Any:
        """The body, which is UTF-8 (RFC 8259, 8.1)."""
        body = await self.body()
        try:
            return json.loads(body.decode(), object_pairs_hook=_unique)
        except json.JSONDecodeError:
            raise
        except (ValueError, RecursionError) as error:
            raise json.JSONDecodeError(str(error), "", 0) from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a member is named twice")
    return found


def _query_names(dependant: Dependant) -> Iterator[str]:
    yield from (field.alias for field in dependant.query_params)
    for other in dependant.dependencies:
        yield from _query_names(other)


def _header_names(dependant: Dependant) -> Iterator[str]:
    yield from (field.alias.lower() for field in dependant.header_params)
    for other in dependant.dependencies:
        yield from _header_names(other)


def _refuse_unread(request: Request, read: Iterable[str]) -> None:
    """Check that the request has no precondition that the route ignores.

    Preconditions: RFC 9110, 13.1.

    Raises:
        ProblemError: ``invalid_request``: it has one that is not in ``read``.
    """
    errors = [
        {"field": name.title(), "message": "is not supported here: this resource has no version"}
        for name in PRECONDITIONS
        if name in request.headers and name not in read
    ]
    if errors:
        raise ProblemError.of("invalid_request", "The request is not valid.", errors=errors)


def _has_no_body(request: Request) -> bool:
    length = request.headers.get("content-length")
    return length == "0" if length is not None else "transfer-encoding" not in request.headers
