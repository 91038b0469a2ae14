"""Recomputation of consumption from raw usage into temporary tables.

It works one day at a time and not in memory. The caller's transaction has isolation ``repeatable read``, so everything
is of one snapshot of the database. Only plain reads are made: they block no writer.
"""

from collections.abc import Collection, Iterator
from datetime import date, datetime, timedelta

from services.metering.domain.catalogue import (
    COUNT,
    LATEST,
    PEAK,
    SUM,
    UNIQUE,
    Catalogue,
    SubscriptionView,
    microseconds,
)
from services.metering.domain.corrections import NO_METER, PURGE
from services.metering.domain.judgement import instant
from services.metering.domain.spans import common
from shared.runtime.postgres.pool import Connection

_CREATE = (
    "CREATE TEMPORARY TABLE recomputed_day (subscription integer, meter integer, day timestamptz, aggregate numeric)"
    " ON COMMIT DROP",
    "CREATE TEMPORARY TABLE recomputed_meter (meter integer PRIMARY KEY, kind integer) ON COMMIT DROP",
    """
CREATE TEMPORARY TABLE recomputed_span (subscription integer, window_start timestamptz, window_end timestamptz)
ON COMMIT DROP
""",
    """
CREATE TEMPORARY TABLE recomputed_gap (subscription integer, meter integer, gap_start timestamptz, gap_end timestamptz)
ON COMMIT DROP
""",
    """
CREATE TEMPORARY TABLE recomputed_part (
    subscription integer, meter integer, window_start timestamptz, aggregate numeric, reached_at timestamptz,
    as_of timestamptz
) ON COMMIT DROP
""",
    """
CREATE TEMPORARY TABLE recomputed_sighting (
    subscription integer, meter integer, window_start timestamptz, resource text COLLATE "C", received_at timestamptz,
    PRIMARY KEY (subscription, meter, window_start, resource)
) ON COMMIT DROP
""",
    """
CREATE TEMPORARY TABLE recomputed_hour (
    subscription integer, meter integer, hour timestamptz, events bigint, total numeric, peak numeric
) ON COMMIT DROP
""",
    """
CREATE TEMPORARY TABLE recomputed_book (day date, kafka_partition integer, source text, product text, applied bigint)
ON COMMIT DROP
""",
)
_LOAD_DAYS = """
SELECT to_date(right(relname, 8), 'YYYYMMDD') AS day FROM pg_class
WHERE relname ~ '^usage_\\d{8}$' AND relispartition AND relnamespace = 'public'::regnamespace ORDER BY 1
"""
_FROM_DAY = f"""
FROM usage u JOIN recomputed_meter m USING (meter)
JOIN recomputed_span s ON s.subscription = u.subscription AND u.at >= s.window_start AND u.at < s.window_end
WHERE u.at >= $1 AND u.at < $2 AND s.window_start < $2 AND s.window_end > $1
  AND u.reversed_at IS NULL AND u.quarantined_at IS NULL AND u.meter <> {NO_METER}
  AND NOT EXISTS (
    SELECT FROM recomputed_gap g
    WHERE g.subscription = u.subscription AND g.meter = u.meter AND u.at >= g.gap_start AND u.at < g.gap_end)
"""
_TOTALS = f"""
INSERT INTO recomputed_part
SELECT u.subscription, u.meter, s.window_start, sum(CASE m.kind WHEN {COUNT} THEN 1 ELSE u.quantity END), NULL,
       max(u.received_at)
{_FROM_DAY} AND m.kind IN ({SUM}, {COUNT}) GROUP BY 1, 2, 3
"""
_LEVELS = f"""
INSERT INTO recomputed_part
SELECT DISTINCT ON (u.subscription, u.meter, s.window_start) u.subscription, u.meter, s.window_start, u.quantity, u.at,
       max(u.received_at) OVER (PARTITION BY u.subscription, u.meter, s.window_start)
{_FROM_DAY} AND m.kind IN ({PEAK}, {LATEST})
ORDER BY u.subscription, u.meter, s.window_start, CASE m.kind WHEN {PEAK} THEN u.quantity END DESC,
         CASE m.kind WHEN {PEAK} THEN u.at END, u.at DESC, u.quantity DESC
"""
_SIGHTINGS = f"""
INSERT INTO recomputed_sighting
SELECT u.subscription, u.meter, s.window_start, u.resource, min(u.received_at)
{_FROM_DAY} AND m.kind = {UNIQUE}
  AND NOT EXISTS (
    SELECT FROM correction p
    WHERE p.kind = {PURGE} AND p.reversed_at IS NULL AND p.subscription = u.subscription AND p.meter = u.meter
      AND p.resource = u.resource AND p.at >= u.at AND p.at >= s.window_start AND p.at < s.window_end)
GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
ON CONFLICT (subscription, meter, window_start, resource) DO UPDATE
    SET received_at = least(recomputed_sighting.received_at, EXCLUDED.received_at)
"""  # noqa: S608
_HOURS = f"""
INSERT INTO recomputed_hour
SELECT subscription, meter, date_trunc('hour', at, 'UTC'), count(*), sum(quantity), max(quantity)
FROM usage WHERE at >= $1 AND at < $2 AND reversed_at IS NULL AND quarantined_at IS NULL AND meter <> {NO_METER}
GROUP BY 1, 2, 3
"""  # noqa: S608
_DAYS = f"""
INSERT INTO recomputed_day
SELECT u.subscription, u.meter, $1::timestamptz, CASE m.kind
    WHEN {SUM} THEN sum(u.quantity) WHEN {COUNT} THEN count(*) WHEN {PEAK} THEN max(u.quantity)
    WHEN {LATEST} THEN (array_agg(u.quantity ORDER BY u.at DESC, u.quantity DESC))[1] END
FROM usage u JOIN recomputed_meter m USING (meter)
WHERE u.at >= $1 AND u.at < $2 AND u.reversed_at IS NULL AND u.quarantined_at IS NULL AND m.kind <> {UNIQUE}
GROUP BY u.subscription, u.meter, m.kind
UNION ALL
SELECT u.subscription, u.meter, $1, count(DISTINCT u.resource)
FROM usage u JOIN recomputed_meter m USING (meter)
WHERE u.at >= $1 AND u.at < $2 AND u.reversed_at IS NULL AND u.quarantined_at IS NULL AND m.kind = {UNIQUE}
  AND NOT EXISTS (
    SELECT FROM correction p
    WHERE p.kind = {PURGE} AND p.reversed_at IS NULL AND p.subscription = u.subscription AND p.meter = u.meter
      AND p.resource = u.resource AND p.at >= u.at AND p.window_start <= u.at)
GROUP BY u.subscription, u.meter
"""  # noqa: S608
_BOOKS = f"""
INSERT INTO recomputed_book
SELECT (u.received_at AT TIME ZONE 'UTC')::date, u.kafka_partition, source.id, meter.product, count(*)
FROM usage u JOIN source ON source.number = u.source JOIN meter ON meter.number = u.meter
WHERE u.at >= $1 AND u.at < $2 AND u.meter <> {NO_METER} AND u.quarantined_at IS NULL GROUP BY 1, 2, 3, 4
UNION ALL
SELECT (c.received_at AT TIME ZONE 'UTC')::date, c.kafka_partition, c.source, c.product, count(*)
FROM correction c WHERE c.at >= $1 AND c.at < $2 AND c.settled_as IS DISTINCT FROM 'duplicate' GROUP BY 1, 2, 3, 4
"""  # noqa: S608
_ADD_UP = f"""
CREATE TEMPORARY TABLE recomputed_window ON COMMIT DROP AS
SELECT subscription, meter, window_start, sum(aggregate) AS aggregate, NULL::timestamptz AS reached_at,
       max(as_of) AS as_of
FROM recomputed_part JOIN recomputed_meter USING (meter) WHERE kind IN ({SUM}, {COUNT}) GROUP BY 1, 2, 3
UNION ALL
(SELECT DISTINCT ON (subscription, meter, window_start) subscription, meter, window_start, aggregate, reached_at,
        max(as_of) OVER (PARTITION BY subscription, meter, window_start)
 FROM recomputed_part JOIN recomputed_meter USING (meter) WHERE kind IN ({PEAK}, {LATEST})
 ORDER BY subscription, meter, window_start, CASE kind WHEN {PEAK} THEN aggregate END DESC,
          CASE kind WHEN {PEAK} THEN reached_at END, reached_at DESC, aggregate DESC)
UNION ALL
SELECT subscription, meter, window_start, count(*), NULL, max(received_at) FROM recomputed_sighting GROUP BY 1, 2, 3
"""  # noqa: S608
ONE_DAY = timedelta(days=1)


async def prepare(
    connection: Connection,
    catalogue: Catalogue,
    subscriptions: Collection[int] | None = None,
    since: datetime | None = None,
) -> list[datetime]:
    """Create the temporary tables. Return the starts of the days with raw usage.

    The days are in order, oldest first. With ``subscriptions`` only those of these numbers are recomputed; with
    ``since`` only windows that begin then or later.
    """
    days = [instant_of(row["day"]) for row in await connection.fetch(_LOAD_DAYS)]
    days = [day for day in days if since is None or day + ONE_DAY > since]
    for statement in _CREATE:
        await connection.execute(statement)
    meters = [(meter.number, meter.kind) for meter in catalogue.meters.values()]
    await connection.copy_records_to_table("recomputed_meter", records=meters)
    if days:
        views = [view for view in catalogue.by_number.values() if not subscriptions or view.number in subscriptions]
        first, end = max(since or days[0], days[0]), days[-1] + ONE_DAY
        spans = [(view.number, *span) for view in views for span in windows_of(view, first, end)]
        await connection.copy_records_to_table("recomputed_span", records=spans)
        gaps = [gap for view in views for gap in _gaps(catalogue, view, first, end)]
        await connection.copy_records_to_table("recomputed_gap", records=gaps)
        for table in ("recomputed_span", "recomputed_gap", "recomputed_meter"):
            await connection.execute(f"ANALYZE {table}")
    return days


def windows_of(view: SubscriptionView, first: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Yield start and end of every window between two instants.

    Windows are cut to the terms in which usage counts.
    """
    calendar = view.state.calendar
    window = calendar.window_at(first)
    while window.start < end:
        start_us, end_us = microseconds(window.start), microseconds(window.end)
        for _, until_us in common([(start_us, end_us)], view.spans.terms):
            yield window.start, instant(until_us)
        window = calendar.window_at(window.end)


def _gaps(
    catalogue: Catalogue, view: SubscriptionView, first: datetime, end: datetime
) -> Iterator[tuple[int, int, datetime, datetime]]:
    """Yield the spans within terms in which a product was not used.

    Each is (subscription number, meter number, start, end), once for each of the product's meters.
    """
    end_us = microseconds(end)
    for name in view.spans.uses:
        gaps = view.spans.gaps(name, microseconds(first))
        product = catalogue.products.get(name)
        for start, until in common(gaps, view.spans.terms) if product else ():
            for meter in product.meters.values() if product and start < end_us else ():
                yield view.number, meter.number, instant(start), instant(min(until, end_us))


async def add_day(connection: Connection, day: datetime) -> None:
    """Add one day to windows, hours, days and books."""
    await add_windows_of(connection, day)
    for statement in (_HOURS, _DAYS, _BOOKS):
        await connection.execute(statement, day, day + ONE_DAY)


async def add_windows_of(connection: Connection, day: datetime) -> None:
    """Add one day to windows only."""
    for statement in (_TOTALS, _LEVELS, _SIGHTINGS):
        await connection.execute(statement, day, day + ONE_DAY)


async def add_up(connection: Connection) -> None:
    """Combine the days into windows; call it once, after the last day."""
    await connection.execute(_ADD_UP)


def instant_of(day: date) -> datetime:
    """Return the start of a UTC day."""
    return instant(0) + (day - date(1970, 1, 1))
