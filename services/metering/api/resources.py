"""``GET /v1/subscriptions/{id}/resources``: the resources that a meter counted.

It answers requests with an ingest key, and those that reporting signs.
"""

import base64
import binascii
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request

from services.metering.api.access import KeyRing
from services.metering.domain.catalogue import UNIQUE, MeterView, SubscriptionView
from services.metering.handlers.upkeep import sightings_kept_days
from services.metering.store import resources
from services.metering.store.projection import Projection
from shared.events.envelope import Instant, rfc3339
from shared.runtime.http.middleware import ProblemError
from shared.runtime.http.routes import ApiRoute
from shared.runtime.http.service_auth import is_genuine, is_signed
from shared.runtime.postgres.pool import Connection, Pool
from shared.runtime.signing import Keys
from shared.windows import Window

Id = Annotated[str, Query(min_length=1, max_length=64)]
MAX_CURSOR_LENGTH = 4000
"""Base64 of the longest resource: 512 characters of at most 4 bytes."""
AHEAD = timedelta(days=1)


def resources_router(
    keys: KeyRing, signing_keys: Keys, pool: Pool, projection: Projection, clock: Callable[[], datetime]
) -> APIRouter:
    """Make the route ``GET /v1/subscriptions/{id}/resources``."""
    router = APIRouter(route_class=ApiRoute)

    async def admit(request: Request, product: str) -> None:
        if is_signed(request.headers):
            target = f"{request.url.path}?{request.url.query}"
            if not is_genuine(target, request.headers, clock(), signing_keys):
                raise ProblemError.of("unauthenticated", "The request is not signed by a service of this system.")
        elif (await keys.admit(request)).product != product:
            raise ProblemError.of("forbidden", "The ingest key is for another product.")

    @router.get("/v1/subscriptions/{subscription}/resources")
    async def get_resources(
        request: Request,
        subscription: Annotated[str, Path(max_length=64)],
        *,
        product: Id,
        meter: Id,
        window: Instant | None = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        cursor: Annotated[str | None, Query(max_length=MAX_CURSOR_LENGTH)] = None,
    ) -> dict[str, Any]:
        """List the resources that a meter counted in a window, by name.

        It is the window that contains ``window``, by default now.
        """
        await admit(request, product)
        after = _read(cursor)
        async with pool.acquire() as connection:
            known, counted_by = await _find(connection, projection, subscription, product, meter)
            place = _window(known, window, clock())
            where = known.number, counted_by.number, place.start
            rows = await resources.load_page(connection, where, after, limit + 1)
            counted = await resources.count(connection, where)
        more = len(rows) > limit
        return {
            "subscription": subscription,
            "product": product,
            "meter": meter,
            "window": {"start": rfc3339(place.start), "end": rfc3339(place.end)},
            "counted": counted,
            "items": [
                {"resource": row.resource, "first_received_at": rfc3339(row.first_received_at)} for row in rows[:limit]
            ],
            "next_cursor": _written(rows[limit - 1].resource) if more else None,
        }

    return router


async def _find(
    connection: Connection, projection: Projection, subscription: str, product: str, meter: str
) -> tuple[SubscriptionView, MeterView]:
    catalogue = await projection.refresh(connection)
    known, view = catalogue.subscriptions.get(subscription), catalogue.products.get(product)
    if known is None or view is None or product not in known.spans.uses or meter not in view.meters:
        raise ProblemError.of("not_found", "No such subscription, product or meter is known.")
    if view.meters[meter].kind != UNIQUE:
        raise _invalid("meter", "counts no resources")
    return known, view.meters[meter]


def _window(known: SubscriptionView, wanted: datetime | None, now: datetime) -> Window:
    """Return the window that contains the instant, by default now.

    Raises:
        ProblemError: 404, its resources were already deleted, or the instant is more than ``AHEAD`` in the future.
    """
    at = now if wanted is None else wanted
    oldest = now - timedelta(days=sightings_kept_days(known.state.window_days))
    found = known.state.calendar.window_at(at) if oldest <= at <= now + AHEAD else None
    if found is None or found.start < oldest:
        raise ProblemError.of("not_found", "The resources of this window were deleted, or it has not begun.")
    return found


def _written(resource: str) -> str:
    return base64.urlsafe_b64encode(resource.encode()).decode()


def _read(cursor: str | None) -> str:
    try:
        after = base64.b64decode((cursor or "").encode("ascii"), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise _invalid("cursor", "is not a cursor of this list") from error
    if "\0" in after:
        raise _invalid("cursor", "is not a cursor of this list")
    return after


def _invalid(field: str, message: str) -> ProblemError:
    errors = [{"field": field, "message": message}]
    return ProblemError.of("invalid_request", "The request is not valid.", errors=errors)
