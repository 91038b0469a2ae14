"""Stored consumption compared with the result of ``recomputation``.

Differences are read one by one with a cursor.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

from services.metering.domain.corrections import PURGE
from shared.runtime.postgres.pool import Connection

# Excluded: windows of corrections that will be rechecked, and of subscriptions with a due move. They may differ
# temporarily.
_WINDOWS = f"""
WITH unsure AS (
    SELECT DISTINCT subscription, meter, window_start FROM correction
    WHERE look_at IS NOT NULL AND (settled_at IS NOT NULL OR kind = {PURGE})
)
SELECT coalesce(s.id, '?') AS subscription, coalesce(m.product, '?') AS product, coalesce(m.id, '?') AS meter,
       window_start, coalesce(w.aggregate, 0) AS stored, coalesce(a.aggregate, 0) AS found,
       w.reached_at AS stored_at, a.reached_at AS found_at
FROM (SELECT * FROM meter_window WHERE window_start >= $1) w
FULL JOIN (SELECT * FROM recomputed_window WHERE window_start >= $1) a USING (subscription, meter, window_start)
LEFT JOIN subscription s ON s.number = subscription LEFT JOIN meter m ON m.number = meter
WHERE (coalesce(w.aggregate, 0), w.reached_at) IS DISTINCT FROM (coalesce(a.aggregate, 0), a.reached_at)
  AND NOT EXISTS (
      SELECT FROM unsure u WHERE (u.subscription, u.meter, u.window_start) = (subscription, meter, window_start))
  AND NOT EXISTS (SELECT FROM move_due d WHERE d.subscription = w.subscription OR d.subscription = a.subscription)
ORDER BY 1, 2, 3, 4
"""  # noqa: S608
_SIGHTINGS = f"""
WITH unsure AS (
    SELECT DISTINCT subscription, meter, window_start FROM correction
    WHERE look_at IS NOT NULL AND (settled_at IS NOT NULL OR kind = {PURGE})
), differing AS (
    SELECT subscription, meter, window_start, count(*) FILTER (WHERE a.resource IS NULL) AS too_many,
           count(*) FILTER (WHERE g.resource IS NULL) AS missing
    FROM (SELECT * FROM sighting WHERE window_start >= $1) g
    FULL JOIN (SELECT * FROM recomputed_sighting WHERE window_start >= $1) a
        USING (subscription, meter, window_start, resource)
    WHERE a.resource IS NULL OR g.resource IS NULL GROUP BY 1, 2, 3
)
SELECT coalesce(s.id, '?') AS subscription, coalesce(m.product, '?') AS product, coalesce(m.id, '?') AS meter,
       window_start, too_many, missing
FROM differing LEFT JOIN subscription s ON s.number = subscription LEFT JOIN meter m ON m.number = meter
WHERE NOT EXISTS (
    SELECT FROM unsure u
    WHERE (u.subscription, u.meter, u.window_start) = (differing.subscription, differing.meter, differing.window_start))
  AND NOT EXISTS (SELECT FROM move_due d WHERE d.subscription = differing.subscription)
ORDER BY 1, 2, 3, 4
"""  # noqa: S608
# Excluded: peaks of hours with a due reversal, which are recomputed when it is added.
_HOURS = """
WITH unsure AS (
    SELECT u.subscription, u.meter, u.hour
    FROM hour_due d CROSS JOIN LATERAL unnest(d.subscriptions, d.meters, d.hours, d.peaks)
        AS u (subscription, meter, hour, peak)
    WHERE u.peak IS NULL
)
SELECT coalesce(s.id, '?') AS subscription, coalesce(m.product, '?') AS product, coalesce(m.id, '?') AS meter, hour,
       coalesce(h.events, 0) AS stored, coalesce(a.events, 0) AS found,
       coalesce(h.total, 0)::text AS stored_total, coalesce(a.total, 0)::text AS found_total,
       h.peak::text AS stored_peak, a.peak::text AS found_peak
FROM (SELECT * FROM hourly_usage WHERE hour >= $1) h
FULL JOIN (SELECT * FROM recomputed_hour WHERE hour >= $1) a USING (subscription, meter, hour)
LEFT JOIN subscription s ON s.number = subscription LEFT JOIN meter m ON m.number = meter
WHERE (h.events, h.total) IS DISTINCT FROM (a.events, a.total)
   OR (h.peak IS DISTINCT FROM a.peak
       AND NOT EXISTS (SELECT FROM unsure u WHERE (u.subscription, u.meter, u.hour) = (subscription, meter, hour)))
ORDER BY 1, 2, 3, 4
"""
# Excluded: days that are due, or whose hours are, and days with corrections that will be rechecked.
_DAYS = f"""
WITH due AS (
    SELECT u.subscription, u.meter, u.day
    FROM day_due d CROSS JOIN LATERAL unnest(d.subscriptions, d.meters, d.days) AS u (subscription, meter, day)
    UNION
    SELECT u.subscription, u.meter, date_trunc('day', u.hour, 'UTC')
    FROM hour_due d CROSS JOIN LATERAL unnest(d.subscriptions, d.meters, d.hours) AS u (subscription, meter, hour)
)
SELECT coalesce(s.id, '?') AS subscription, coalesce(m.product, '?') AS product, coalesce(m.id, '?') AS meter, day,
       coalesce(k.aggregate, 0) AS stored, coalesce(a.aggregate, 0) AS found
FROM (SELECT * FROM measured_days WHERE day >= $1) k
FULL JOIN (SELECT * FROM recomputed_day WHERE day >= $1) a USING (subscription, meter, day)
LEFT JOIN subscription s ON s.number = subscription LEFT JOIN meter m ON m.number = meter
WHERE coalesce(k.aggregate, 0) <> coalesce(a.aggregate, 0)
  AND NOT EXISTS (SELECT FROM due d WHERE (d.subscription, d.meter, d.day) = (subscription, meter, day))
  AND NOT EXISTS (
      SELECT FROM correction c
      WHERE c.look_at IS NOT NULL AND (c.settled_at IS NOT NULL OR c.kind = {PURGE})
        AND (c.subscription, c.meter) = (subscription, meter))
ORDER BY 1, 2, 3, 4
"""  # noqa: S608
_BOOKS = """
SELECT day, source, product, coalesce(b.applied, 0) AS stored, coalesce(a.applied, 0) AS found
FROM (SELECT day, source, product, sum(applied) AS applied FROM book WHERE day >= $1 GROUP BY 1, 2, 3) b
FULL JOIN (SELECT day, source, product, sum(applied) AS applied FROM recomputed_book WHERE day >= $1 GROUP BY 1, 2, 3) a
    USING (day, source, product)
WHERE coalesce(b.applied, 0) <> coalesce(a.applied, 0) ORDER BY 1, 2, 3
"""
_QUARANTINE = """
SELECT day, source, product, coalesce(b.quarantined, 0) AS stored, coalesce(q.quarantined, 0) AS found
FROM (SELECT day, source, product, sum(quarantined) AS quarantined FROM book GROUP BY 1, 2, 3) b
FULL JOIN (
    SELECT (received_at AT TIME ZONE 'UTC')::date AS day, source, product, count(*) AS quarantined
    FROM quarantine WHERE settled_at IS NULL GROUP BY 1, 2, 3
) q USING (day, source, product)
WHERE coalesce(b.quarantined, 0) <> coalesce(q.quarantined, 0) ORDER BY 1, 2, 3
"""
_REPEATED = """
SELECT digest, array_agg(at ORDER BY at) AS times, min(source.id) AS source,
       array_agg(kafka_partition ORDER BY at) AS partitions, array_agg(kafka_offset ORDER BY at) AS offsets,
       (SELECT min(event_id) FROM correction WHERE correction.digest = usage.digest) AS event_id
FROM usage JOIN source ON source.number = usage.source
WHERE digest >= $1 AND digest < $2 GROUP BY digest HAVING count(*) > 1
"""
_REPEATED_LAST = _REPEATED.replace("AND digest < $2", "AND digest <= $2")
_COUNT_UNSURE = f"""
SELECT count(*) FROM correction WHERE look_at IS NOT NULL AND (settled_at IS NOT NULL OR kind = {PURGE})
"""  # noqa: S608
SLICES = 256
"""Identities are read in this many ranges of the index on their hash."""


async def differing_windows(connection: Connection, since: datetime) -> AsyncIterator[str]:
    """Yield windows whose aggregate, or its time, differs."""
    async for row in connection.cursor(_WINDOWS, since):
        what = f"stored {row['stored']:f}, by raw usage {row['found']:f}"
        if row["stored"] == row["found"]:
            what = f"{row['stored']:f} reached at {row['stored_at']}, by raw usage at {row['found_at']}"
        place = f"{row['subscription']} {row['product']}/{row['meter']} {row['window_start']:%Y-%m-%dT%H:%MZ}"
        yield f"window {place}: {what}"


async def differing_sightings(connection: Connection, since: datetime) -> AsyncIterator[str]:
    """Yield windows in which other resources are counted."""
    async for row in connection.cursor(_SIGHTINGS, since):
        yield (
            f"resources {row['subscription']} {row['product']}/{row['meter']} {row['window_start']:%Y-%m-%dT%H:%MZ}: "
            f"{row['too_many']} counted without usage, {row['missing']} with usage are missing"
        )


async def differing_hours(connection: Connection, since: datetime) -> AsyncIterator[str]:
    """Yield hours whose figures differ."""
    async for row in connection.cursor(_HOURS, since):
        yield (
            f"hour {row['subscription']} {row['product']}/{row['meter']} {row['hour']:%Y-%m-%dT%HZ}: stored "
            f"{row['stored']} events, {row['stored_total']}, peak {row['stored_peak']}; by raw usage "
            f"{row['found']} events, {row['found_total']}, peak {row['found_peak']}"
        )


async def differing_days(connection: Connection, since: datetime) -> AsyncIterator[str]:
    """Yield days whose own aggregate differs."""
    async for row in connection.cursor(_DAYS, since):
        place = f"{row['subscription']} {row['product']}/{row['meter']} {row['day']:%Y-%m-%d}"
        yield f"day {place}: stored {row['stored']:f}, by raw usage {row['found']:f}"


async def differing_books(connection: Connection, since: date) -> AsyncIterator[str]:
    """Describe each line of the books that differs from raw usage or quarantine.

    A line is a day of arrival, a source and a product. Raw usage is compared for days from ``since`` on, the quarantine
    for all days.
    """
    async for row in connection.cursor(_BOOKS, since):
        place = f"{row['day']} {row['source']} {row['product']}"
        yield f"book {place}: applied {row['stored']}, raw usage has {row['found']}"
    async for row in connection.cursor(_QUARANTINE):
        place = f"{row['day']} {row['source']} {row['product']}"
        yield f"book {place}: quarantined {row['stored']}, in quarantine are {row['found']}"


@dataclass(frozen=True, slots=True)
class Repeated:
    """An identity that is used on several days.

    ``times`` are the event times; ``places`` are the (partition, offset) of each. ``event_id`` is known only for
    corrections.
    """

    digest: UUID
    source: str
    times: tuple[datetime, ...]
    places: tuple[tuple[int, int], ...]
    event_id: str | None


async def identities_of_several_days(connection: Connection, part: int) -> AsyncIterator[Repeated]:
    """Yield the identities in one range that were applied on more than one day.

    ``part`` is the number of the range, from 0 to ``SLICES`` - 1.
    """
    first, after = f"{part:02x}{'0' * 30}", f"{part + 1:02x}{'0' * 30}"
    is_last = part == SLICES - 1
    statement = _REPEATED_LAST if is_last else _REPEATED
    async for row in connection.cursor(statement, first, "f" * 32 if is_last else after):
        places = tuple(zip(row["partitions"], row["offsets"], strict=True))
        yield Repeated(row["digest"], row["source"], tuple(row["times"]), places, row["event_id"])


async def count_unsure(connection: Connection) -> int:
    """Count corrections that will be rechecked; their windows are not compared."""
    return int(await connection.fetchval(_COUNT_UNSURE))
