"""``GET /v1/quarantine``, for the product of the ingest key."""

from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request

from services.metering.api.access import KeyRing
from services.metering.domain.reasons import Reason
from services.metering.store import quarantine
from services.metering.store.quarantine import QuarantinedRecord
from shared.events.envelope import Instant, rfc3339
from shared.runtime.http.middleware import ProblemError
from shared.runtime.http.routes import ApiRoute
from shared.runtime.postgres.pool import Pool

Claimed = Annotated[str | None, Query(min_length=1, max_length=200)]
_SHOWN = ("detail", "event_id", "product", "reason", "settled_as", "source", "subscription", "topic")
_TIMES = ("quarantined_at", "received_at", "settled_at")


def quarantine_router(keys: KeyRing, pool: Pool) -> APIRouter:
    """Make the route ``GET /v1/quarantine``."""
    router = APIRouter(route_class=ApiRoute)

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
        if start is not None and end is not None and end <= start:
            raise _invalid("to", "must be after from")
        wanted = quarantine.Filter(reason, _storable("source", source), _storable("subscription", subscription))
        wanted = replace(wanted, start=start, end=end, settled=settled)
        async with pool.acquire() as connection:
            rows = await quarantine.load_page(connection, key.product, wanted, cursor, limit + 1)
        more = len(rows) > limit
        return {
            "items": [_item(row) for row in rows[:limit]],
            "next_cursor": str(rows[limit - 1].id) if more else None,
        }

    return router


def _item(record: QuarantinedRecord) -> dict[str, Any]:
    return {
        "id": str(record.id),
        **{name: getattr(record, name) for name in _SHOWN},
        **{name: _time(getattr(record, name)) for name in _TIMES},
        "partition": record.partition,
        "offset": record.offset,
        "event": None if record.value is None else record.value.decode("utf-8", "replace"),
    }


def _time(at: datetime | None) -> str | None:
    return None if at is None else rfc3339(at)


def _storable(name: str, claimed: str | None) -> str | None:
    if claimed is not None and not claimed.isprintable():
        raise _invalid(name, "must be printable text")
    return claimed


def _invalid(name: str, message: str) -> ProblemError:
    errors = [{"field": name, "message": message}]
    return ProblemError.of("invalid_request", "The request is not valid.", errors=errors)
