"""``GET /v1/entitlements`` and ``GET /v1/quarantine``, for the product of the ingest key."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request

from services.metering.api.access import KeyRing
from services.metering.domain.catalogue import ProductView, SubscriptionView
from services.metering.domain.consumption import snapshot
from services.metering.domain.entitlement import decide
from services.metering.domain.reasons import Reason
from services.metering.store import quarantine
from services.metering.store.entitlements import Standing, load_standing
from services.metering.store.projection import Projection
from shared.events.envelope import Instant
from shared.events.state import SubscriptionState
from shared.runtime.http import ProblemError
from shared.runtime.postgres import Connection, Pool, Row
from shared.units import MAX_UNITS

Id = Annotated[str, Query(min_length=1, max_length=64)]
Claimed = Annotated[str | None, Query(min_length=1, max_length=200)]
_KEPT = {"subscription", "source", "product", "event_id", "reason", "detail", "topic", "settled_as"}
_TIMES = {"received_at", "quarantined_at", "settled_at"}


def reading_router(keys: KeyRing, pool: Pool, projection: Projection, clock: Callable[[], datetime]) -> APIRouter:
    """The routes."""
    router = APIRouter()

    @router.get("/v1/entitlements")
    async def get_entitlement(
        request: Request,
        subscription: Id,
        product: Id,
        units: Annotated[int, Query(ge=0, le=MAX_UNITS)] = 1,
    ) -> dict[str, Any]:
        key = await keys.admit(request)
        if key.product != product:
            raise ProblemError.of("forbidden", "The ingest key is for another product.")
        async with pool.acquire() as connection:
            measured, as_of, known = await _consumed(connection, projection, subscription, product, clock())
        answer = decide(known, product, measured, units)
        return {
            "allowed": answer.allowed,
            "reason": answer.reason,
            "allocated": answer.allocated,
            "consumed": answer.consumed,
            "unused": answer.unused,
            "policy": answer.policy,
            "as_of": _time(as_of),
        }

    @router.get("/v1/quarantine")
    async def get_quarantine(
        request: Request,
        *,
        reason: Reason | None = None,
        source: Claimed = None,
        subscription: Claimed = None,
        start: Annotated[Instant | None, Query(alias="from")] = None,
        end: Annotated[Instant | None, Query(alias="to")] = None,
        settled: bool | None = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        cursor: Annotated[int | None, Query(ge=1, lt=2**63)] = None,
    ) -> dict[str, Any]:
        key = await keys.admit(request)
        wanted = quarantine.Filter(reason, _storable("source", source), _storable("subscription", subscription))
        wanted = replace(wanted, start=start, end=end, settled=settled)
        async with pool.acquire() as connection:
            rows = await quarantine.page(connection, key.product, wanted, cursor, limit + 1)
        more = len(rows) > limit
        return {
            "items": [_item(row) for row in rows[:limit]],
            "next_cursor": str(rows[limit - 1]["id"]) if more else None,
        }

    return router


async def _consumed(
    connection: Connection, projection: Projection, subscription: str, product: str, now: datetime
) -> tuple[int, datetime | None, SubscriptionState]:
    """What is consumed, as of when, and the subscription's state: of one moment, unless the projection is changing."""
    known, view = await _find(connection, projection, subscription, product)
    standing = await _load(connection, known, view, now)
    if standing.version != projection.catalogue.version:
        await projection.refresh(connection)
        known, view = await _find(connection, projection, subscription, product)
        standing = await _load(connection, known, view, now)
    measured = snapshot(known.state, view, now, standing.history)
    return measured.consumed if measured else 0, standing.as_of, known.state


async def _find(
    connection: Connection, projection: Projection, subscription: str, product: str
) -> tuple[SubscriptionView, ProductView]:
    """From memory; where it is not there, after a look at what is stored."""
    catalogue = projection.catalogue
    if subscription not in catalogue.subscriptions or product not in catalogue.products:
        await projection.refresh(connection)
    known, view = catalogue.subscriptions.get(subscription), catalogue.products.get(product)
    if known is None or view is None:
        raise ProblemError.of("not_found", "No such subscription or product is known.")
    return known, view


async def _load(connection: Connection, known: SubscriptionView, view: ProductView, now: datetime) -> Standing:
    since = known.state.calendar.window_at(now).start
    if any(meter.is_term for meter in view.meters.values()):
        since = min(since, known.state.term_at(now).start)
    return await load_standing(connection, known.number, [meter.number for meter in view.meters.values()], since)


def _item(row: Row) -> dict[str, Any]:
    value: bytes | None = row["value"]
    return {
        "id": str(row["id"]),
        **{name: row[name] for name in sorted(_KEPT)},
        **{name: _time(row[name]) for name in sorted(_TIMES)},
        "partition": row["kafka_partition"],
        "offset": row["kafka_offset"],
        "event": None if value is None else value.decode("utf-8", "replace"),
    }


def _time(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat().replace("+00:00", "Z")


def _storable(name: str, claimed: str | None) -> str | None:
    if claimed is not None and not claimed.isprintable():
        errors = [{"field": name, "message": "must be printable text"}]
        raise ProblemError.of("invalid_request", "The request is not valid.", errors=errors)
    return claimed
