"""Hot routes, which the middleware calls directly.

FastAPI's routing would cost more than the answer.

Such a route is documented like any other, but its endpoint reads the request itself (``openapi_extra`` documents its
parameters) and returns a ``Response``. ``Middleware`` finds it by method and path, without patterns and dependencies.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from fastapi import APIRouter, FastAPI, Request
from fastapi.routing import APIRoute


class DirectRoute(APIRoute):
    """A route that the middleware calls directly.

    Use it as ``APIRouter(route_class=DirectRoute)``. Its path has no parameters.
    """

    def get_route_handler(self) -> Callable[[Request], Any]:
        """The endpoint itself, for an app without the middleware."""
        endpoint: Callable[[Request], Any] = self.endpoint
        return endpoint


Table: TypeAlias = Mapping[tuple[str, str], DirectRoute]


def include(api: FastAPI, router: APIRouter) -> None:
    """Add a router's routes to an app, so that the middleware calls its direct routes."""
    api.include_router(router)
    routes = [route for route in router.routes if isinstance(route, DirectRoute)]
    api.state.direct = {
        **table(api),
        **{(method, route.path): route for route in routes for method in route.methods or ()},
    }


def table(api: FastAPI) -> Table:
    """An app's direct routes by method and path."""
    known: Table = getattr(api.state, "direct", {})
    return known
