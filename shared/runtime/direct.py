"""Routes that are asked so often that the way to them would cost more than their answers do.

Such a route is described like any other, but its endpoint reads the request by itself (``openapi_extra`` says what it
takes) and answers with a ``Response``. ``Edge`` calls it by method and path alone, past the app's own layers: no
pattern is matched, no dependency looked for.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, TypeAlias

from fastapi import Request, Response
from fastapi.routing import APIRoute

Endpoint: TypeAlias = Callable[[Request], Awaitable[Response]]


class DirectRoute(APIRoute):
    """``APIRouter(route_class=DirectRoute)``. Its path has no parameters."""

    def get_route_handler(self) -> Callable[[Request], Any]:
        """The endpoint itself: this is how it answers where nobody calls it straight."""
        endpoint: Callable[[Request], Any] = self.endpoint
        return endpoint


Table: TypeAlias = Mapping[tuple[str, str], DirectRoute]


def table(routes: Iterable[object]) -> Table:
    """The direct ones among an app's routes, by method and path."""
    direct = [route for route in routes if isinstance(route, DirectRoute)]
    return {(method, route.path): route for route in direct for method in route.methods or ()}
