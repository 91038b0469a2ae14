"""Ingest of the same events with little and with much stored usage."""

import time
from argparse import Namespace
from datetime import UTC, date, datetime, timedelta
from statistics import median

from services.metering.store.partitions import HOURS, MIDNIGHTS, SIGHTINGS, USAGE
from shared.events.topics import USAGE as USAGE_TOPIC
from tests.bench import ingest, topic
from tests.bench.figures import Figures
from tests.bench.loading import load_metering
from tests.bench.progress import say
from tests.bench.section import Section, Servers, section, settle
from tests.bench.workload import ACTIVE, PRODUCTS, RESOURCES, Workload
from tests.support.servers.databases import as_owner, connect

STORED_DAYS = 35
ROWS_AT_ONCE = 200_000
ROUNDS = 3
"""Rounds of each database, in turn; the median counts."""
WINDOW = timedelta(days=15)

_MAKE_PARTITION = "SELECT make_partition($1, $2, $3)"
# As the workload publishes: subscriptions after Zipf, any of their products and resources; evenly over the days.
_FILL = """
INSERT INTO usage (
    at, received_at, kafka_offset, digest, subscription, meter, source, kafka_partition, quantity, resource
)
SELECT drawn.at, drawn.at, n, gen_random_uuid(), s.number, m.number, 1, 0, drawn.quantity, drawn.resource
FROM (
    SELECT n, floor(exp(random() * ln($2)))::integer - 1 AS subscription, floor(random() * $3)::integer AS step,
        $4::timestamptz - random() * make_interval(days => $5) AS at, 1 + floor(random() * 99) AS quantity,
        'resource-' || lpad(floor(random() * $6)::text, 6, '0') AS resource
    FROM generate_series(1, $1) AS n
) AS drawn
JOIN subscription AS s ON s.id = 'subscription-' || lpad(drawn.subscription::text, 6, '0')
JOIN meter AS m ON m.product = 'product-' || lpad(((drawn.subscription * 7 + drawn.step * 3) % $7)::text, 2, '0')
"""
_WINDOWED = """
WITH term AS MATERIALIZED (
    SELECT number, (state::jsonb #>> '{term,start}')::timestamptz AS start FROM subscription
), kind AS MATERIALIZED (
    SELECT m.number, p.state::jsonb #>> '{meters,0,aggregation}' AS aggregation
    FROM meter AS m JOIN product AS p ON p.id = m.product
), windowed AS (
    SELECT u.subscription, u.meter, u.at, u.quantity, u.resource,
        date_bin('15 days', u.at, term.start) AS start, kind.aggregation
    FROM usage AS u JOIN term ON term.number = u.subscription JOIN kind ON kind.number = u.meter
)
"""
_FILL_SIGHTINGS = f"""{_WINDOWED}
INSERT INTO sighting (window_start, received_at, subscription, meter, resource)
SELECT start, min(at), subscription, meter, resource FROM windowed WHERE aggregation = 'unique' GROUP BY 1, 3, 4, 5
"""  # noqa: S608
_FILL_WINDOWS = f"""{_WINDOWED}
INSERT INTO meter_window (window_start, as_of, reached_at, revision, subscription, meter, aggregate)
SELECT start, max(at), CASE aggregation WHEN 'peak' THEN max(at) END, 1, subscription, meter,
    CASE aggregation WHEN 'sum' THEN sum(quantity) WHEN 'peak' THEN max(quantity) ELSE count(DISTINCT resource) END
FROM windowed GROUP BY start, subscription, meter, aggregation
"""  # noqa: S608
_FILL_HOURS = """
INSERT INTO usage_hour (hour, events, subscription, meter, total, peak)
SELECT date_bin('1 hour', at, '2000-01-01Z'), count(*), subscription, meter, sum(quantity), max(quantity)
FROM usage GROUP BY 1, 3, 4
"""


async def measure(servers: Servers, options: Namespace) -> Figures:
    """Measure the figures ``growth_*``."""
    workload = Workload(options.growth_events, options.subscriptions, datetime.now(UTC))
    async with section(servers) as made:
        filled = topic.UsageTopic(servers.kafka, made.topic(USAGE_TOPIC), workload.events)
        await topic.fill(filled, workload)
        stored = {count: await _filled(made, workload, count) for count in (options.growth_small, options.growth_large)}
        rates: dict[int, list[float]] = {count: [] for count in stored}
        for _ in range(ROUNDS):
            for count, dsn in stored.items():
                rates[count].append(await _run(made, workload, dsn, count))
    small, large = (median(rates[count]) for count in (options.growth_small, options.growth_large))
    return {
        "growth_stored_small": options.growth_small,
        "growth_stored_large": options.growth_large,
        "growth_small_events_per_second": round(small),
        "growth_large_events_per_second": round(large),
        "growth_ratio": round(large / small, 3),
        "growth_events": options.growth_events,
    }


async def _filled(made: Section, workload: Workload, stored: int) -> str:
    """Create a database with this number of events."""
    dsn = await made.database("metering")
    await load_metering(dsn, workload)
    await fill(dsn, workload, stored)
    await settle(made.servers, dsn)
    return dsn


async def _run(made: Section, workload: Workload, dsn: str, stored: int) -> float:
    """Ingest into a copy of the database; return events per second."""
    say(f"growth: a copy with {stored:,} events stored")
    async with made.copy(dsn) as copied:
        await settle(made.servers, copied)
        rate = (await ingest.run(made, copied, workload.events, until_published=False)).events_per_second
    say(f"growth: {rate:,.0f} events a second with {stored:,} stored")
    return rate


async def fill(dsn: str, workload: Workload, stored: int) -> None:
    """Insert this number of events of the last 35 days, with their aggregates."""
    started = time.perf_counter()
    async with connect(as_owner(dsn)) as connection:
        await connection.execute("SET synchronous_commit = off; SET work_mem = '256MB'")
        for partitioned in (USAGE, MIDNIGHTS, SIGHTINGS, HOURS):
            for first in sorted({partitioned.first_day(day) for day in _days(workload.now)}):
                await connection.execute(_MAKE_PARTITION, partitioned.table, first, partitioned.days)
        for first_row in range(0, stored, ROWS_AT_ONCE):
            count = min(ROWS_AT_ONCE, stored - first_row)
            drawn = (float(workload.subscriptions), ACTIVE, workload.now, STORED_DAYS, RESOURCES, PRODUCTS)
            await connection.execute(_FILL, count, *drawn)
            say(f"growth: {first_row + count:,} of {stored:,} events stored")
        for statement in (_FILL_SIGHTINGS, _FILL_WINDOWS, _FILL_HOURS):
            await connection.execute(statement)
    say(f"growth: {stored / (time.perf_counter() - started):,.0f} a second")


def _days(now: datetime) -> list[date]:
    """Return the days of the stored events and those on which windows may begin."""
    oldest = now - timedelta(days=STORED_DAYS) - WINDOW
    return [(oldest + timedelta(days=n)).date() for n in range((now - oldest).days + 2)]
