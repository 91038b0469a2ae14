"""Measured windows for snapshots and restatements, and the snapshots due."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from services.metering.domain.consumption import Measured
from shared.runtime.postgres.pool import Connection, Row

WINDOWS_KEPT = timedelta(days=395)
"""Retention of windows: twelve months are shown, plus one."""
LOCK = 0x756E6974_736E6170
"""Key of the advisory lock that lets one process publish snapshots."""

_TRY_LOCK = "SELECT pg_try_advisory_lock($1)"
# The oldest rows, until they name $2 windows together; the last may exceed the number.
_LOAD_DUE = """
SELECT id, subscriptions, meters, windows FROM (
    SELECT *, sum(cardinality(meters)) OVER (ORDER BY id) - cardinality(meters) AS before
    FROM (
        SELECT * FROM snapshot_due WHERE not_before IS NULL OR not_before <= $3 ORDER BY id LIMIT $1
    ) AS oldest
) AS oldest WHERE before < $2
"""
_POSTPONE = """
INSERT INTO snapshot_due (subscriptions, meters, windows, not_before)
SELECT $1::integer[], $2::integer[], $3::timestamptz[], $4 WHERE cardinality($1::integer[]) > 0
"""
_DELETE_DUE = "DELETE FROM snapshot_due WHERE id = ANY ($1)"
_LOAD_WINDOWS = """
SELECT w.subscription, w.meter, w.window_start, w.aggregate, w.reached_at, w.revision, w.as_of
FROM unnest($1::integer[], $2::integer[], $3::timestamptz[]) AS wanted (subscription, meter, window_start)
JOIN meter_window w USING (subscription, meter, window_start)
"""
_LOAD_HISTORIES = """
SELECT w.subscription, w.meter, w.window_start, w.aggregate, w.reached_at, w.revision, w.as_of
FROM unnest($1::integer[], $2::integer[]) AS wanted (subscription, meter)
JOIN meter_window w USING (subscription, meter)
ORDER BY w.subscription, w.meter, w.window_start
"""
# All windows of a product's meters that begin at or after $2, whose rate is new.
_INSERT_DUE_OF_PRODUCT = """
INSERT INTO snapshot_due (subscriptions, meters, windows)
SELECT array_agg(w.subscription), array_agg(w.meter), array_agg(w.window_start)
FROM meter_window w JOIN meter m ON m.number = w.meter
WHERE m.product = $1 AND w.window_start >= $2
HAVING count(*) > 0
"""
# All windows of a subscription that begin after $2, when their rates were locked.
_INSERT_DUE_OF_LOCKED_RATES = """
INSERT INTO snapshot_due (subscriptions, meters, windows)
SELECT array_agg(w.subscription), array_agg(w.meter), array_agg(w.window_start)
FROM subscription s JOIN meter_window w ON w.subscription = s.number
WHERE s.id = $1 AND w.window_start > $2
HAVING count(*) > 0
"""
_DELETE_WINDOWS = """
DELETE FROM meter_window w USING unnest($1::integer[], $2::timestamptz[]) AS k (subscription, term_start)
WHERE w.subscription = k.subscription
  AND w.window_start < CASE WHEN w.meter = ANY ($3::integer[]) THEN k.term_start ELSE $4 END
"""


@dataclass(frozen=True, slots=True)
class Due:
    """Rows of ``snapshot_due`` by their ids, and the windows that they name.

    A window is given as (subscription number, meter number, window start).
    """

    ids: list[int]
    windows: set[tuple[int, int, datetime]]


Histories = dict[int, dict[int, list[Measured]]]
"""Measured windows by subscription number and meter number."""


async def try_lock(connection: Connection) -> bool:
    """Try to become the process that publishes snapshots. Return whether it worked.

    The lock is held for as long as the connection lives.
    """
    return bool(await connection.fetchval(_TRY_LOCK, LOCK))


async def load_due(connection: Connection, rows: int, windows: int, now: datetime) -> Due:
    """Load the oldest rows that are not postponed, at most ``rows`` of them.

    Loading stops after the row with which they name ``windows`` windows or more (repeats counted). The last row may
    exceed that number, so that at least one row is loaded where any is due.
    """
    due = Due([], set())
    for row in await connection.fetch(_LOAD_DUE, rows, windows, now):
        due.ids.append(row["id"])
        due.windows.update(zip(row["subscriptions"], row["meters"], row["windows"], strict=True))
    return due


async def delete_due(connection: Connection, ids: Sequence[int]) -> None:
    """Delete due rows whose snapshots are published."""
    await connection.execute(_DELETE_DUE, ids)


async def postpone(connection: Connection, windows: Collection[tuple[int, int, datetime]], until: datetime) -> None:
    """Make the snapshots of these windows due at ``until``.

    Windows are given as (subscription number, meter number, window start).
    """
    ordered = sorted(windows)
    columns = [[key[place] for key in ordered] for place in range(3)]
    await connection.execute(_POSTPONE, *columns, until)


async def insert_due_of_product(connection: Connection, product: str, since: datetime) -> None:
    """Make a product's snapshots due for the windows that begin at or after ``since``."""
    await connection.execute(_INSERT_DUE_OF_PRODUCT, product, since)


async def insert_due_of_locked_rates(connection: Connection, subscription: str, locked_at: datetime) -> None:
    """Make a subscription's snapshots due after its rates were locked.

    Only windows that begin after ``locked_at`` are concerned.
    """
    await connection.execute(_INSERT_DUE_OF_LOCKED_RATES, subscription, locked_at)


async def load_windows(connection: Connection, wanted: Collection[tuple[int, int, datetime]]) -> Histories:
    """Load single windows, given as (subscription, meter, window start)."""
    keys = sorted(wanted)
    columns = [[key[place] for key in keys] for place in range(3)]
    return _grouped(await connection.fetch(_LOAD_WINDOWS, *columns))


async def load_histories(connection: Connection, wanted: Collection[tuple[int, int]]) -> Histories:
    """Load all windows of each (subscription, meter), in order of their start."""
    keys = sorted(wanted)
    return _grouped(await connection.fetch(_LOAD_HISTORIES, [key[0] for key in keys], [key[1] for key in keys]))


async def delete_windows(
    connection: Connection, needed: Sequence[tuple[int, datetime]], term_meters: Sequence[int], oldest: datetime
) -> int:
    """Delete old windows of the subscriptions in ``needed``. Return how many.

    ``needed``: (subscription, start) pairs. Windows of ``term_meters`` are deleted if they begin before that start,
    those of other meters if they begin before ``oldest``.
    """
    columns = [number for number, _ in needed], [start for _, start in needed]
    return int((await connection.execute(_DELETE_WINDOWS, *columns, term_meters, oldest)).split()[-1])


def _grouped(rows: Sequence[Row]) -> Histories:
    found: Histories = {}
    for subscription, meter, *measured in map(tuple, rows):
        found.setdefault(subscription, {}).setdefault(meter, []).append(Measured(*measured))
    return found
