"""Routes that are asked so often that the way to them would cost more than their answers do.

Such a route is described like any other, but its endpoint reads the request by itself (``openapi_extra`` says what it
takes) and answers with a ``Response``. ``Edge`` calls it by method and path alone, past the app's own layers: no
pattern is matched, no dependency looked for.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from fastapi import APIRouter, FastAPI, Request
from fastapi.routing import APIRoute


class DirectRoute(APIRoute):
    """``APIRouter(route_class=DirectRoute)``. Its path has no parameters."""

    def get_route_handler(self) -> Callable[[Request], Any]:
        """The endpoint itself: this is how it answers where nobody calls it straight."""
        endpoint: Callable[[Request], Any] = self.endpoint
        return endpoint


Table: TypeAlias = Mapping[tuple[str, str], DirectRoute]


def include(api: FastAPI, router: APIRouter) -> None:
    """Add a router's routes to an app; the direct ones are called straight from then on."""
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
