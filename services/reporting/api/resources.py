"""Counted resources of a meter."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from services.reporting.api.answers import resources as answers
from services.reporting.api.fields import At, invalid
from services.reporting.api.identifiers import SubscriptionInPath
from services.reporting.api.routing import CurrentCaller, new_router
from services.reporting.queries.access import is_id
from services.reporting.queries.resources import ResourceQueries

MAX_CURSOR_LENGTH = 4000
Id = Annotated[str, Query(min_length=1, max_length=64)]


def resources_router(queries: ResourceQueries) -> APIRouter:
    """``/v1/subscriptions/{subscription}/resources``."""
    router = new_router("subscriptions", "/subscriptions")

    @router.get("/{subscription}/resources", response_model=answers.Resources)
    async def resources(
        caller: CurrentCaller,
        subscription: SubscriptionInPath,
        *,
        product: Id,
        meter: Id,
        window: At | None = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        cursor: Annotated[str | None, Query(max_length=MAX_CURSOR_LENGTH)] = None,
    ) -> Any:
        """List the resources that a meter counted in a window, by name.

        The window is the one that contains an instant, by default now. Resources are retained for 75 days.
        """
        for name, text in (("product", product), ("meter", meter)):
            if not is_id(text):
                raise invalid(name, f"is not the id of a {name}")
        if cursor is not None and not (cursor.isascii() and cursor.isprintable()):
            raise invalid("cursor", "is not a cursor of this list")
        wanted: dict[str, str | int] = {"product": product, "meter": meter, "limit": limit}
        wanted |= {"window": window.isoformat()} if window else {}
        wanted |= {"cursor": cursor} if cursor else {}
        return await queries.resources(caller, subscription, wanted)

    return router
