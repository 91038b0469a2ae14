"""Hourly usage, to which the due rows of batches and corrections are added.

Due rows of many batches are added at a time. Many batches change the same hour; updating its row in each cost a sixth
of the database's work for usage. The view ``hourly_usage`` includes due rows, except for peaks that were reversed.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

from services.metering.domain.catalogue import EPOCH
from services.metering.domain.corrections import NO_METER
from services.metering.store import partitions
from services.metering.store.partitions import HOURS
from shared.runtime.postgres.pool import Connection

_INSERT_DUE = """
INSERT INTO hour_due (days, subscriptions, meters, hours, events, totals, peaks)
VALUES ($1, $2, $3, $4, $5, $6, array_fill(NULL::numeric, ARRAY[cardinality($2::integer[])]))
"""
_LOCK = "SELECT pg_advisory_xact_lock($1)"
_LOAD = """
SELECT id, days FROM hour_due d
WHERE NOT EXISTS (SELECT FROM set_aside_work a WHERE a.work = $2 AND a.key = d.id::text AND a.retry_at > $3)
ORDER BY id LIMIT $1
"""
# Splits the row of a batch into one row per subscription.
_SPLIT_BY_SUBSCRIPTION = """
WITH whole AS (
    DELETE FROM hour_due
    WHERE id = ANY ($1) AND EXISTS (SELECT FROM unnest(subscriptions) AS one WHERE one <> subscriptions[1])
    RETURNING *
)
INSERT INTO hour_due (days, subscriptions, meters, hours, events, totals, peaks)
SELECT array_agg(DISTINCT (u.hour AT TIME ZONE 'UTC')::date), array_agg(u.subscription), array_agg(u.meter),
       array_agg(u.hour), array_agg(u.events), array_agg(u.total), array_agg(u.peak)
FROM whole CROSS JOIN LATERAL
    unnest(whole.subscriptions, whole.meters, whole.hours, whole.events, whole.totals, whole.peaks)
    AS u (subscription, meter, hour, events, total, peak)
GROUP BY whole.id, u.subscription
RETURNING id
"""
_LOAD_OWNERS = "SELECT id, subscriptions[1] AS subscription FROM hour_due WHERE id = ANY ($1)"
# The days become due. Returns hours with reversed usage, whose peaks are recomputed from raw usage. Usage that
# arrives meanwhile has due rows of its own.
_ADD = """
WITH due AS (
    DELETE FROM hour_due WHERE id = ANY ($1) RETURNING *
), added AS (
    SELECT u.subscription, u.meter, u.hour, sum(u.events)::bigint AS events, sum(u.total) AS total, max(u.peak) AS peak,
           bool_or(u.peak IS NULL) AS is_reversed
    FROM due CROSS JOIN LATERAL
        unnest(due.subscriptions, due.meters, due.hours, due.events, due.totals, due.peaks)
        AS u (subscription, meter, hour, events, total, peak)
    GROUP BY 1, 2, 3
), changed AS (
    INSERT INTO usage_hour AS h (subscription, meter, hour, events, total, peak)
    SELECT subscription, meter, hour, events, total, coalesce(peak, 0) FROM added ORDER BY 1, 2, 3
    ON CONFLICT (subscription, meter, hour) DO UPDATE SET
        events = h.events + EXCLUDED.events, total = h.total + EXCLUDED.total, peak = greatest(h.peak, EXCLUDED.peak)
), days AS (
    INSERT INTO day_due (subscriptions, meters, days)
    SELECT array_agg(subscription), array_agg(meter), array_agg(day)
    FROM (SELECT DISTINCT subscription, meter, date_trunc('day', hour, 'UTC') AS day FROM added) AS one
    HAVING count(*) > 0
)
SELECT subscription, meter, hour FROM added WHERE is_reversed ORDER BY 1, 2, 3
"""
_FIND_PEAKS = f"""
WITH k AS (
    SELECT * FROM unnest($1::integer[], $2::integer[], $3::timestamptz[]) AS k (subscription, meter, hour)
), peak AS (
    SELECT k.subscription, k.meter, k.hour, max(u.quantity) AS peak
    FROM k JOIN usage u ON u.subscription = k.subscription AND u.meter = k.meter
        AND u.at >= k.hour AND u.at < k.hour + interval '1 hour'
    WHERE u.reversed_at IS NULL AND u.quarantined_at IS NULL AND u.meter <> {NO_METER} AND u.at >= $4 AND u.at < $5
    GROUP BY 1, 2, 3
)
UPDATE usage_hour h SET peak = peak.peak FROM peak
WHERE (h.subscription, h.meter, h.hour) = (peak.subscription, peak.meter, peak.hour)
"""  # noqa: S608
_DELETE_EMPTY = """
DELETE FROM usage_hour h
USING unnest($1::integer[], $2::integer[], $3::timestamptz[]) AS k (subscription, meter, hour)
WHERE (h.subscription, h.meter, h.hour) = (k.subscription, k.meter, k.hour) AND h.events = 0
"""

LOCK = 0x756E6974_686F7572
"""Key of the advisory lock for changing ``usage_hour``.

One transaction holds it at a time.
"""
AT_ONCE = 500
"""Batches added in one statement."""
HOUR = timedelta(hours=1)


class Due(NamedTuple):
    """A due row: what a batch adds to hours; ``days`` are the UTC days of these hours."""

    id: int
    days: tuple[date, ...]


Key = tuple[int, int, datetime]
"""Subscription number, meter number, hour."""


async def insert_due(connection: Connection, changed: Sequence[tuple[Key, int, Decimal]]) -> None:
    """Insert a due row for events that no longer count or count again.

    Each event is given as (hour, sign, quantity): the sign is -1 if it no longer counts and 1 if it counts again.
    """
    totals: dict[Key, list[Decimal]] = {}
    counted: Counter[Key] = Counter()
    for key, sign, quantity in changed:
        totals.setdefault(key, []).append(sign * quantity)
        counted[key] += sign
    if totals:
        keys = sorted(totals)
        counts, sums = [counted[key] for key in keys], [sum(totals[key], Decimal(0)) for key in keys]
        days = sorted({hour.date() for _, _, hour in keys})
        await connection.execute(_INSERT_DUE, days, *_columns(keys), counts, sums)


async def lock_due(connection: Connection, work: str, now: datetime) -> list[Due]:
    """Take the lock for adding to hours, and load at most ``AT_ONCE`` due rows.

    Rows that ``work`` has set aside are left out until their next attempt is due.
    """
    await connection.execute(_LOCK, LOCK)
    return [Due(row["id"], tuple(row["days"])) for row in await connection.fetch(_LOAD, AT_ONCE, work, now)]


async def add_due(connection: Connection, due: Sequence[Due]) -> None:
    """Add due rows to the hours, and delete them."""
    # Batches create these partitions, but upkeep may have dropped one since; it is created again.
    known = {(one.kind.table, one.first) for one in await partitions.load_partitions(connection) if one.is_attached}
    wanted = [(HOURS, day) for one in due for day in one.days]
    await partitions.make_partitions(connection, partitions.missing(wanted, known))
    keys: list[Key] = [tuple(row) for row in await connection.fetch(_ADD, [one.id for one in due])]
    if keys:
        hours = [hour for _, _, hour in keys]
        await connection.execute(_FIND_PEAKS, *_columns(keys), min(hours), max(hours) + HOUR)
        await connection.execute(_DELETE_EMPTY, *_columns(keys))


async def split_due_by_subscription(connection: Connection, due: Sequence[Due]) -> dict[int, int]:
    """Split due rows by subscription. Return the subscription number by row id."""
    made = [row["id"] for row in await connection.fetch(_SPLIT_BY_SUBSCRIPTION, [one.id for one in due])]
    rows = await connection.fetch(_LOAD_OWNERS, [*made, *(one.id for one in due)])
    return {row["id"]: row["subscription"] for row in rows}


async def add_due_batches(connection: Connection, work: str = "", now: datetime = EPOCH) -> int:
    """Add at most ``AT_ONCE`` due rows to the hours. Return how many.

    Must run in a transaction, which holds the lock.
    """
    due = await lock_due(connection, work, now)
    if due:
        await add_due(connection, due)
    return len(due)


async def add_all(connection: Connection) -> None:
    """Add all due rows. Must run in a transaction."""
    while await add_due_batches(connection) == AT_ONCE:
        pass


def _columns(keys: Sequence[Key]) -> tuple[list[int], list[int], list[datetime]]:
    return [key[0] for key in keys], [key[1] for key in keys], [key[2] for key in keys]
