"""Changes of windows and sightings by reversals, purges and moves, set by set.

Sums and counts are subtracted from. Peaks, latest levels and counted resources are recomputed from unreversed raw
usage, whatever the windows had before, so those statements can be repeated. Locks are taken in the order of
``usage_batch``.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID

from services.metering.domain.catalogue import LATEST, PEAK
from services.metering.domain.corrections import PURGE
from shared.runtime.postgres.pool import Connection

_MARK_REVERSED = """
UPDATE usage u SET reversed_at = $3
FROM unnest($1::uuid[], $2::timestamptz[]) AS gone (digest, at)
WHERE u.digest = gone.digest AND u.at = gone.at AND u.at >= $4 AND u.at <= $5 AND u.reversed_at IS NULL
RETURNING u.digest, u.quarantined_at IS NULL AS counted
"""
_LOCK_WINDOWS = """
SELECT FROM unnest($1::integer[], $2::integer[], $3::timestamptz[]) AS k (subscription, meter, window_start)
JOIN meter_window w USING (subscription, meter, window_start)
ORDER BY w.subscription, w.meter, w.window_start FOR UPDATE OF w
"""
_SUBTRACT = """
UPDATE meter_window w SET
    aggregate = greatest(w.aggregate - k.amount, 0), revision = w.revision + 1, as_of = greatest(w.as_of, k.as_of)
FROM unnest($1::integer[], $2::integer[], $3::timestamptz[], $4::numeric[], $5::timestamptz[])
    AS k (subscription, meter, window_start, amount, as_of)
WHERE (w.subscription, w.meter, w.window_start) = (k.subscription, k.meter, k.window_start)
RETURNING w.subscription, w.meter, w.window_start
"""


def _levels(order: str) -> str:
    return f"""
WITH k AS (
    SELECT * FROM unnest($1::integer[], $2::integer[], $3::timestamptz[], $4::timestamptz[])
        AS k (subscription, meter, window_start, window_end)
), level AS (
    SELECT DISTINCT ON (k.subscription, k.meter, k.window_start)
        k.subscription, k.meter, k.window_start, u.quantity, u.at
    FROM k JOIN usage u ON u.subscription = k.subscription AND u.meter = k.meter
        AND u.at >= k.window_start AND u.at < k.window_end
    WHERE u.reversed_at IS NULL AND u.quarantined_at IS NULL AND u.at >= $5 AND u.at < $6
    ORDER BY k.subscription, k.meter, k.window_start, {order}
)
UPDATE meter_window w SET aggregate = coalesce(level.quantity, 0), reached_at = level.at, revision = w.revision + 1
FROM k LEFT JOIN level USING (subscription, meter, window_start)
WHERE (w.subscription, w.meter, w.window_start) = (k.subscription, k.meter, k.window_start)
  AND (w.aggregate, w.reached_at) IS DISTINCT FROM (coalesce(level.quantity, 0), level.at)
RETURNING w.subscription, w.meter, w.window_start
"""  # noqa: S608


_RECOMPUTE_PEAKS = _levels("u.quantity DESC, u.at")
_RECOMPUTE_LATEST = _levels("u.at DESC, u.quantity DESC")
_FIND_LAST_PURGES = f"""
SELECT k.n, max(p.at) AS at
FROM unnest($1::integer[], $2::integer[], $3::timestamptz[], $4::text[]) WITH ORDINALITY
    AS k (subscription, meter, window_start, resource, n)
JOIN correction p USING (subscription, meter, window_start, resource)
WHERE p.kind = {PURGE} AND p.reversed_at IS NULL GROUP BY k.n
"""  # noqa: S608
# A resource counts while it has unreversed usage in the window, later than its last purge.
_RECOUNT_RESOURCES = """
WITH k AS (
    SELECT * FROM unnest($1::integer[], $2::integer[], $3::timestamptz[], $4::text[], $5::timestamptz[],
                         $6::timestamptz[])
        AS k (subscription, meter, window_start, resource, after, window_end)
), seen AS (
    SELECT k.subscription, k.meter, k.window_start, k.resource, min(u.received_at) AS received_at
    FROM k JOIN usage u ON u.subscription = k.subscription AND u.meter = k.meter AND u.resource = k.resource
        AND u.at > k.after AND u.at < k.window_end
    WHERE u.reversed_at IS NULL AND u.quarantined_at IS NULL AND u.at > $7 AND u.at < $8
    GROUP BY 1, 2, 3, 4
), gone AS (
    DELETE FROM sighting s USING k
    WHERE (s.subscription, s.meter, s.window_start, s.resource) = (k.subscription, k.meter, k.window_start, k.resource)
      AND NOT EXISTS (
          SELECT FROM seen
          WHERE (seen.subscription, seen.meter, seen.window_start, seen.resource)
              = (s.subscription, s.meter, s.window_start, s.resource))
    RETURNING s.subscription, s.meter, s.window_start, -1 AS change
), back AS (
    INSERT INTO sighting (subscription, meter, window_start, resource, received_at)
    SELECT subscription, meter, window_start, resource, received_at FROM seen ORDER BY 1, 2, 3, 4
    ON CONFLICT DO NOTHING
    RETURNING subscription, meter, window_start, 1 AS change
)
SELECT subscription, meter, window_start, sum(-change)::numeric AS amount
FROM (SELECT * FROM gone UNION ALL SELECT * FROM back) AS changes
GROUP BY 1, 2, 3 HAVING sum(change) <> 0 ORDER BY 1, 2, 3
"""
# A window has no row yet if all of its sightings were excluded by a purge.
_INSERT_WINDOWS = """
INSERT INTO meter_window (subscription, meter, window_start, aggregate, revision, as_of)
SELECT k.*, 0, 0, $4 FROM unnest($1::integer[], $2::integer[], $3::timestamptz[])
    AS k (subscription, meter, window_start)
ORDER BY k.subscription, k.meter, k.window_start
ON CONFLICT DO NOTHING
"""
_INSERT_DUE = """
INSERT INTO snapshot_due (subscriptions, meters, windows)
SELECT * FROM (VALUES ($1::integer[], $2::integer[], $3::timestamptz[])) AS due WHERE cardinality($1) > 0
"""

Key = tuple[int, int, datetime]
"""Subscription number, meter number, window start."""


@dataclass(frozen=True, slots=True, order=True)
class WindowKey:
    """One meter's window."""

    subscription: int
    meter: int
    start: datetime
    end: datetime

    @property
    def key(self) -> Key:
        """The key of the window's row."""
        return self.subscription, self.meter, self.start


@dataclass(frozen=True, slots=True, order=True)
class ResourceKey:
    """One resource in one meter's window."""

    window: WindowKey
    resource: str


Amount = tuple[Key, Decimal, datetime]
"""Window, amount to subtract from it, and append time of the cause.

The cause is the last correction that contributes to the amount.
"""


async def mark_reversed(
    connection: Connection, targets: Sequence[tuple[UUID, datetime]], now: datetime
) -> dict[UUID, bool]:
    """Mark raw usage as reversed.

    Return the events that were not reversed before, by digest, with whether they counted.
    """
    digests, times = [digest for digest, _ in targets], [at for _, at in targets]
    if not targets:
        return {}
    rows = await connection.fetch(_MARK_REVERSED, digests, times, now, min(times), max(times))
    return {row["digest"]: row["counted"] for row in rows}


async def subtract(connection: Connection, amounts: Sequence[Amount]) -> list[Key]:
    """Subtract amounts from the aggregates of windows.

    Return the windows that changed.
    """
    if not amounts:
        return []
    if added := [(key, as_of) for key, amount, as_of in amounts if amount < 0]:
        await insert_windows(connection, [key for key, _ in added], max(as_of for _, as_of in added))
    await connection.execute(_LOCK_WINDOWS, *_columns([key for key, *_ in amounts]))
    rows = await connection.fetch(
        _SUBTRACT, *_columns([key for key, *_ in amounts]), [a for _, a, _ in amounts], [at for *_, at in amounts]
    )
    return [tuple(row) for row in rows]


async def recompute_levels(connection: Connection, kind: int, windows: Collection[WindowKey]) -> list[Key]:
    """Recompute peaks, or latest levels, from unreversed usage.

    ``kind`` is ``PEAK`` or ``LATEST``. Return the windows that changed.
    """
    if not windows:
        return []
    # Locked first: the statement then sees usage committed before, and usage committed later is added to its result.
    ordered = sorted(windows)
    columns = _columns([one.key for one in ordered])
    await connection.execute(_LOCK_WINDOWS, *columns)
    ends = [one.end for one in ordered]
    statement = {PEAK: _RECOMPUTE_PEAKS, LATEST: _RECOMPUTE_LATEST}[kind]
    rows = await connection.fetch(statement, *columns, ends, min(columns[2]), max(ends))
    return [tuple(row) for row in rows]


async def recount_resources(connection: Connection, resources: Collection[ResourceKey], as_of: datetime) -> list[Key]:
    """Recompute whether resources count, from unreversed usage and purges.

    Return the windows that changed.
    """
    if not resources:
        return []
    ordered = sorted(resources)
    columns = _columns([one.window.key for one in ordered])
    names = [one.resource for one in ordered]
    purged = {row["n"] - 1: row["at"] for row in await connection.fetch(_FIND_LAST_PURGES, *columns, names)}
    after = [purged.get(n, _just_before(one.window.start)) for n, one in enumerate(ordered)]
    ends = [one.window.end for one in ordered]
    changes = await connection.fetch(_RECOUNT_RESOURCES, *columns, names, after, ends, min(after), max(ends))
    amounts = [((row[0], row[1], row[2]), row["amount"], as_of) for row in changes]
    return await subtract(connection, amounts)


async def insert_windows(connection: Connection, keys: Collection[Key], as_of: datetime) -> None:
    """Insert windows that do not exist, with nothing measured."""
    if keys:
        await connection.execute(_INSERT_WINDOWS, *_columns(sorted(keys)), as_of)


async def insert_due(connection: Connection, changed: Collection[Key]) -> None:
    """Make the snapshots of these windows due."""
    await connection.execute(_INSERT_DUE, *_columns(sorted(set(changed))))


def _columns(keys: Sequence[Key]) -> tuple[list[int], list[int], list[datetime]]:
    return [key[0] for key in keys], [key[1] for key in keys], [key[2] for key in keys]


def _just_before(at: datetime) -> datetime:
    return at - timedelta(microseconds=1)
