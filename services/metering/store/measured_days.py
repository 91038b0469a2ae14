"""Usage by UTC day and hour: due days, what they measured, their stored state.

Sums, counts and peaks are read from the hours; latest levels and distinct resources from raw usage.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

from services.metering.domain.corrections import PURGE
from shared.runtime.postgres.pool import Connection

LOCK = 0x756E6974_64617973
"""Key of the advisory lock that lets one process measure and publish days."""
DAY = timedelta(days=1)

_TRY_LOCK = "SELECT pg_try_advisory_lock($1)"
_INSERT_DUE = """
INSERT INTO day_due (subscriptions, meters, days, not_before)
SELECT $1::integer[], $2::integer[], $3::timestamptz[], $4 WHERE cardinality($1::integer[]) > 0
"""
_INSERT_DUE_SINCE = """
INSERT INTO day_due (subscriptions, meters, days)
SELECT array_agg(subscription), array_agg(meter), array_agg(day)
FROM (
    SELECT DISTINCT subscription, meter, date_trunc('day', hour, 'UTC') AS day FROM usage_hour WHERE hour >= $1
    UNION
    SELECT subscription, meter, day FROM measured_days WHERE day >= $1
) AS known
GROUP BY day
"""
# The oldest rows, until they name $2 days together; the last may exceed the number.
_LOAD_DUE = """
SELECT id, subscriptions, meters, days FROM (
    SELECT *, sum(cardinality(meters)) OVER (ORDER BY id) - cardinality(meters) AS before
    FROM (SELECT * FROM day_due WHERE not_before IS NULL OR not_before <= $3 ORDER BY id LIMIT $1) AS oldest
) AS oldest WHERE before < $2
"""
_DELETE_DUE = "DELETE FROM day_due WHERE id = ANY ($1)"
_LOAD_HOURS = """
SELECT h.subscription, h.meter, extract(hour FROM h.hour AT TIME ZONE 'UTC')::integer AS hour, h.events, h.total, h.peak
FROM unnest($1::integer[], $2::integer[]) AS k (subscription, meter)
JOIN usage_hour h USING (subscription, meter)
WHERE h.hour >= $3 AND h.hour < $4 AND h.events > 0
ORDER BY 1, 2, 3
"""
# Of the levels at the same time the largest counts, so that order of arrival does not matter.
_FIND_LATEST = """
SELECT DISTINCT ON (1, 2, 3) u.subscription, u.meter,
    extract(hour FROM u.at AT TIME ZONE 'UTC')::integer AS hour, u.quantity
FROM unnest($1::integer[], $2::integer[]) AS k (subscription, meter)
JOIN usage u ON u.subscription = k.subscription AND u.meter = k.meter
WHERE u.at >= $3 AND u.at < $4 AND u.reversed_at IS NULL AND u.quarantined_at IS NULL
ORDER BY 1, 2, 3, u.at DESC, u.quantity DESC
"""
# The day before is read too, to know when a resource was last seen. A sighting that a later purge of its window took
# back does not count.
_COUNT_RESOURCES = f"""
WITH seen AS (
    SELECT u.subscription, u.meter, u.resource, date_bin('1 hour', u.at, '2000-01-01Z') AS hour
    FROM unnest($1::integer[], $2::integer[]) AS k (subscription, meter)
    JOIN usage u ON u.subscription = k.subscription AND u.meter = k.meter
    WHERE u.at >= $3::timestamptz - interval '24 hours' AND u.at < $4
        AND u.reversed_at IS NULL AND u.quarantined_at IS NULL AND u.resource IS NOT NULL AND NOT EXISTS (
            SELECT FROM correction p
            WHERE p.kind = {PURGE} AND p.reversed_at IS NULL AND p.subscription = u.subscription
                AND p.meter = u.meter AND p.resource = u.resource AND u.at >= p.window_start AND u.at <= p.at)
    GROUP BY 1, 2, 3, 4
), since AS (
    SELECT subscription, meter, hour,
        hour - lag(hour) OVER (PARTITION BY subscription, meter, resource ORDER BY hour) AS gap
    FROM seen
)
SELECT subscription, meter, extract(hour FROM hour AT TIME ZONE 'UTC')::integer AS hour,
    CASE WHEN gap <= interval '24 hours' THEN (extract(epoch FROM gap) / 3600)::integer END AS gap,
    count(*) AS resources
FROM since WHERE hour >= $3
GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
"""  # noqa: S608
# A day without usage that was never stored stays unknown.
_UPSERT = """
INSERT INTO measured_days AS d (subscription, meter, day, aggregate, hours, revision, as_of)
SELECT new.subscription, new.meter, $3, new.aggregate, new.hours, 1, $6
FROM unnest($1::integer[], $2::integer[], $4::numeric[], $5::text[]) AS new (subscription, meter, aggregate, hours)
WHERE new.hours <> '[]' OR EXISTS (
    SELECT FROM measured_days old
    WHERE old.subscription = new.subscription AND old.meter = new.meter AND old.day = $3)
ORDER BY 1, 2
ON CONFLICT (subscription, meter, day) DO UPDATE SET
    aggregate = EXCLUDED.aggregate, hours = EXCLUDED.hours,
    revision = d.revision + (d.hours <> EXCLUDED.hours)::integer,
    as_of = CASE WHEN d.hours <> EXCLUDED.hours THEN EXCLUDED.as_of ELSE d.as_of END
RETURNING subscription, meter, revision, as_of
"""

Key = tuple[int, int, datetime]
"""Subscription number, meter number, start of the UTC day."""


@dataclass(frozen=True, slots=True)
class Due:
    """Rows of ``day_due`` by their ids, and the days that they name."""

    ids: list[int]
    days: set[Key]


class HourSums(NamedTuple):
    """One hour of a meter: number of events, sum and largest of their quantities."""

    subscription: int
    meter: int
    hour: int
    events: int
    total: Decimal
    peak: Decimal


class HourLevel(NamedTuple):
    """The last level of an hour."""

    subscription: int
    meter: int
    hour: int
    level: Decimal


class HourResources(NamedTuple):
    """Resources of an hour that were last seen ``gap`` hours before.

    ``None``: more than 24 hours before, or never.
    """

    subscription: int
    meter: int
    hour: int
    gap: int | None
    resources: int


class NewDay(NamedTuple):
    """What one meter measured in a day; ``hours`` as stored text."""

    subscription: int
    meter: int
    aggregate: Decimal
    hours: str


class StoredDay(NamedTuple):
    """The revision of a stored day, and when it was measured."""

    subscription: int
    meter: int
    revision: int
    as_of: datetime


async def try_lock(connection: Connection) -> bool:
    """Try to become the process that publishes days. Return whether it worked.

    The lock is held for as long as the connection lives.
    """
    return bool(await connection.fetchval(_TRY_LOCK, LOCK))


async def insert_due(connection: Connection, days: Collection[Key], not_before: datetime | None = None) -> None:
    """Make days due, at ``not_before`` or at once."""
    ordered = sorted(days)
    await connection.execute(_INSERT_DUE, *([key[place] for key in ordered] for place in range(3)), not_before)


async def insert_due_since(connection: Connection, since: datetime) -> None:
    """Make every day at ``since`` or later due that has usage, or had."""
    await connection.execute(_INSERT_DUE_SINCE, since)


async def load_due(connection: Connection, rows: int, days: int, now: datetime) -> Due:
    """Load the oldest rows that are due, at most ``rows`` of them.

    Loading stops after the row with which they name ``days`` days or more (repeats counted).
    """
    due = Due([], set())
    for row in await connection.fetch(_LOAD_DUE, rows, days, now):
        due.ids.append(row["id"])
        due.days.update(zip(row["subscriptions"], row["meters"], row["days"], strict=True))
    return due


async def delete_due(connection: Connection, ids: Sequence[int]) -> None:
    """Delete due rows whose days are published."""
    await connection.execute(_DELETE_DUE, ids)


async def load_sums(connection: Connection, meters: Sequence[tuple[int, int]], day: datetime) -> list[HourSums]:
    """Load the hours of a day, of meters given as (subscription, meter), in order."""
    rows = await connection.fetch(_LOAD_HOURS, *_columns(meters), day, day + DAY)
    return [HourSums(*row) for row in rows]


async def find_latest(connection: Connection, meters: Sequence[tuple[int, int]], day: datetime) -> list[HourLevel]:
    """Find the last level of each hour of a day in raw usage, in order."""
    rows = await connection.fetch(_FIND_LATEST, *_columns(meters), day, day + DAY)
    return [HourLevel(*row) for row in rows]


async def count_resources(
    connection: Connection, meters: Sequence[tuple[int, int]], day: datetime
) -> list[HourResources]:
    """Count the resources of each hour of a day, by when they were last seen.

    The hours are in order. Raw usage of the day before must be stored too.
    """
    rows = await connection.fetch(_COUNT_RESOURCES, *_columns(meters), day, day + DAY)
    return [HourResources(*row) for row in rows]


async def upsert_days(
    connection: Connection, day: datetime, measured: Sequence[NewDay], as_of: datetime
) -> list[StoredDay]:
    """Save what meters measured in a day.

    The revision of a day that differs grows by 1. A day without usage is only saved if it had some.
    """
    rows = await connection.fetch(
        _UPSERT,
        [one.subscription for one in measured],
        [one.meter for one in measured],
        day,
        [one.aggregate for one in measured],
        [one.hours for one in measured],
        as_of,
    )
    return [StoredDay(*row) for row in rows]


def _columns(meters: Sequence[tuple[int, int]]) -> tuple[list[int], list[int]]:
    return [subscription for subscription, _ in meters], [meter for _, meter in meters]
