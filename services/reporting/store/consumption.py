"""Consumption by subscription, product and window."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from pydantic import TypeAdapter

from shared.events.metering import MeterConsumption
from shared.events.snapshots import Snapshot, meters_text
from shared.runtime.postgres.pool import Connection

_METERS = TypeAdapter(tuple[MeterConsumption, ...])

# Many subscriptions share a notification, since a batch changes thousands. PostgreSQL limits one to 8,000 bytes.
_UPSERT = """
WITH changed AS (
    INSERT INTO consumption (
        subscription, product, window_start, window_end, revision, consumed, level, burned_down, as_of, meters, added
    )
    SELECT * FROM unnest(
        $1::text[], $2::text[], $3::timestamptz[], $4::timestamptz[], $5::bigint[], $6::bigint[], $7::bigint[],
        $8::bigint[], $9::timestamptz[], $10::jsonb[], $11::bigint[]
    ) AS new (
        subscription, product, window_start, window_end, revision, consumed, level, burned_down, as_of, meters, added
    )
    ORDER BY 1, 2, 3
    ON CONFLICT (subscription, product, window_start) DO UPDATE SET
        window_end = excluded.window_end, revision = excluded.revision, consumed = excluded.consumed,
        level = excluded.level, burned_down = excluded.burned_down, as_of = excluded.as_of, meters = excluded.meters,
        added = excluded.added
    WHERE consumption.revision < excluded.revision
    RETURNING subscription
), numbered AS (
    SELECT subscription, (row_number() OVER (ORDER BY subscription) - 1) / 100 AS notice
    FROM (SELECT DISTINCT subscription FROM changed) AS once
)
SELECT pg_notify('reporting_changes', 'consumption ' || string_agg(subscription, ' ')) FROM numbered GROUP BY notice
"""
# Only each product's newest window needs its meters, so only those are read.
_OF_TERM = """
SELECT product, window_start, window_end, revision, consumed, level, burned_down, as_of,
    CASE WHEN lead(window_start) OVER (PARTITION BY product ORDER BY window_start) IS NULL THEN meters END AS meters
FROM consumption
WHERE subscription = $1 AND window_start >= $2 AND window_start <= $3
ORDER BY product, window_start
"""
_USAGE = """
SELECT product, window_start, window_end, revision, consumed, level, burned_down, as_of, meters
FROM consumption
WHERE subscription = $1 AND window_end > $2 AND window_start < $3 AND ($4::text IS NULL OR product = $4)
ORDER BY window_start, product
"""
# The newest window of each product is retained at any age: it holds the term to date.
_FIND_OLD = """
SELECT DISTINCT subscription FROM consumption AS old
WHERE window_end < $1 AND subscription <> ALL($2::text[]) AND EXISTS (
    SELECT FROM consumption AS newer
    WHERE newer.subscription = old.subscription AND newer.product = old.product
        AND newer.window_start > old.window_start
)
"""
_PRUNE = """
DELETE FROM consumption AS old
WHERE window_end < $1 AND ($2::text[] IS NULL OR subscription = ANY($2)) AND EXISTS (
    SELECT FROM consumption AS newer
    WHERE newer.subscription = old.subscription AND newer.product = old.product
        AND newer.window_start > old.window_start
)
"""


@dataclass(frozen=True, slots=True)
class ConsumptionRow:
    """The consumption of one product in one window.

    ``meters`` is empty if it was not loaded.
    """

    product: str
    window_start: datetime
    window_end: datetime
    revision: int
    consumed: int
    level: int
    burned_down: int
    as_of: datetime
    meters: tuple[MeterConsumption, ...]


async def upsert_snapshots(connection: Connection, snapshots: Iterable[Snapshot]) -> None:
    """Upsert each snapshot that is newer than the stored one, and notify watchers."""
    await connection.execute(_UPSERT, *_columns(newest_revisions(snapshots)))


def newest_revisions(snapshots: Iterable[Snapshot]) -> list[Snapshot]:
    """Return the newest snapshot of each subscription, product and window."""
    newest: dict[tuple[str, str, datetime], Snapshot] = {}
    for one in snapshots:
        key = one.key
        if key not in newest or newest[key].revision < one.revision:
            newest[key] = one
    return list(newest.values())


def _columns(snapshots: Sequence[Snapshot]) -> tuple[list[object], ...]:
    return (
        [one.subscription for one in snapshots],
        [one.product for one in snapshots],
        [one.window_start for one in snapshots],
        [one.window_end for one in snapshots],
        [one.revision for one in snapshots],
        [one.consumed for one in snapshots],
        [one.level for one in snapshots],
        [one.burned_down for one in snapshots],
        [one.as_of for one in snapshots],
        [meters_text(one) for one in snapshots],
        [one.added for one in snapshots],
    )


async def load_term(
    connection: Connection, subscription: str, start: datetime, until: datetime
) -> list[ConsumptionRow]:
    """Load the windows that begin from ``start`` to ``until``, inclusive.

    They are in order of product and time.
    """
    rows = await connection.fetch(_OF_TERM, subscription, start, until)
    return [ConsumptionRow(**{**dict(row), "meters": _meters(row["meters"])}) for row in rows]


async def load_usage(
    connection: Connection, subscription: str, start: datetime, end: datetime, product: str | None
) -> list[ConsumptionRow]:
    """Load the windows that overlap ``start`` to ``end``, with their meters."""
    rows = await connection.fetch(_USAGE, subscription, start, end, product)
    return [ConsumptionRow(**{**dict(row), "meters": _meters(row["meters"])}) for row in rows]


async def find_old_consumption(connection: Connection, before: datetime, except_for: Sequence[str]) -> list[str]:
    """List subscriptions with expired windows, without those of ``except_for``."""
    return [row["subscription"] for row in await connection.fetch(_FIND_OLD, before, list(except_for))]


async def prune_consumption(
    connection: Connection, before: datetime, subscriptions: Sequence[str] | None = None
) -> None:
    """Delete windows that ended before ``before``, of these subscriptions or of all."""
    await connection.execute(_PRUNE, before, subscriptions)


def _meters(text: str | None) -> tuple[MeterConsumption, ...]:
    return () if text is None else _METERS.validate_json(text)
