"""The history of allocations: each change once, by the id of its event."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from services.reporting.store.paging import CursorError, Page, page, read_cursor
from shared.events.allocation import PlanApplied, ProductEnded
from shared.events.envelope import Event
from shared.runtime.postgres.pool import Connection

_INSERT = """
INSERT INTO allocation_changes (
    event_id, product, subscription, at, kind, before, after, actor, reason, starts_clock, version
)
SELECT $1, product, $2, $3, $4, before, after, $5, $6, $7, $8
FROM unnest($9::text[], $10::bigint[], $11::bigint[]) AS new (product, before, after)
ON CONFLICT DO NOTHING
"""
_LIST = """
SELECT event_id, product, at, kind, before, after, actor, reason, starts_clock, version
FROM allocation_changes
WHERE subscription = $1 AND ($3::timestamptz IS NULL OR (at, event_id, product) < ($3, $4, $5))
    AND ($6::text IS NULL OR product = $6)
ORDER BY at DESC, event_id DESC, product DESC LIMIT $2
"""


@dataclass(frozen=True, slots=True)
class AllocationRow:
    """A change of one product's allocation; ``reason`` and ``actor`` may be unknown."""

    event_id: str
    product: str
    at: datetime
    kind: str
    before: int
    after: int
    actor: str | None
    reason: str | None
    starts_clock: bool
    version: int


async def insert_changes(connection: Connection, event: Event[PlanApplied]) -> None:
    """Insert a plan's changes, unless they are stored already."""
    plan = event.data
    await connection.execute(
        _INSERT,
        event.id,
        plan.subscription.id,
        event.time,
        plan.kind,
        event.actor,
        plan.override_reason,
        plan.starts_clock,
        plan.subscription.version,
        [one.product for one in plan.changes],
        [one.before for one in plan.changes],
        [one.after for one in plan.changes],
    )


async def insert_end(connection: Connection, event: Event[ProductEnded]) -> None:
    """Insert the end of a product, with its returned units, unless it is stored."""
    ended = event.data
    await connection.execute(
        _INSERT,
        event.id,
        ended.subscription.id,
        event.time,
        ended.because,
        event.actor,
        None,
        False,
        ended.subscription.version,
        [ended.product],
        [ended.returned],
        [0],
    )


async def list_changes(
    connection: Connection, subscription: str, limit: int, cursor: str | None, product: str | None = None
) -> Page[AllocationRow]:
    """List the changes of a subscription, newest first."""
    place: list[Any] = [*(read_cursor(cursor, 3) or (None, None, None))]
    if place[0] is not None:
        place[0] = read_time(place[0])
    rows = await connection.fetch(_LIST, subscription, limit + 1, *place, product)
    return page(
        rows,
        limit,
        lambda row: AllocationRow(**dict(row)),
        lambda row: (row["at"].isoformat(), row["event_id"], row["product"]),
        "allocation_changes",
    )


def read_time(text: str) -> datetime:
    """Parse a time in a cursor.

    Raises:
        CursorError: it cannot be parsed.
    """
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise CursorError("not a cursor of this list") from error
    if at.tzinfo is None or not 1970 <= at.year <= 2300:  # noqa: PLR2004  # limits of PostgreSQL and of arithmetic
        raise CursorError("not a cursor of this list")
    return at
