"""The bare loop: ingest without the rules of metering, as its ceiling.

aiokafka ``getmany``, a typed decode, COPY into a temporary table, a unique key, resource sets, an hourly aggregate and
the offsets in one transaction. No catalogue, no quarantine, no windows, no books, no snapshots.
"""

import time
from hashlib import blake2b

import asyncpg
import msgspec
from aiokafka import ConsumerRecord

from services.metering.domain.catalogue import DAY_US, microseconds
from services.metering.domain.decode import UsageEvent
from services.metering.domain.placement import Usage
from services.metering.store import rows
from tests.bench.topic import UsageTopic

_CREATE = """
CREATE TABLE bare_usage (
    at timestamptz, received_at timestamptz, kafka_offset bigint, digest uuid PRIMARY KEY, subscription integer,
    meter integer, source integer, kafka_partition integer, quantity numeric, resource text COLLATE "C"
);
CREATE TABLE bare_resource (
    window_start timestamptz, subscription integer, meter integer, resource text COLLATE "C",
    PRIMARY KEY (subscription, meter, window_start, resource)
);
CREATE TABLE bare_hour (
    hour timestamptz, events bigint, subscription integer, meter integer, total numeric,
    PRIMARY KEY (subscription, meter, hour)
) WITH (fillfactor = 70);
CREATE TABLE bare_offset (kafka_partition integer PRIMARY KEY, next_offset bigint);
CREATE TEMPORARY TABLE bare_batch (
    n integer, at timestamptz, received_at timestamptz, kafka_offset bigint, digest uuid, subscription integer,
    meter integer, source integer, kafka_partition integer, window_start timestamptz, kind smallint,
    midnight timestamptz, quantity numeric, resource text COLLATE "C", extra text
) ON COMMIT DELETE ROWS
"""
_INSERT = """
WITH fresh AS (
    INSERT INTO bare_usage
    SELECT at, received_at, kafka_offset, digest, subscription, meter, source, kafka_partition, quantity, resource
    FROM bare_batch ORDER BY digest ON CONFLICT DO NOTHING RETURNING digest
)
DELETE FROM bare_batch b WHERE NOT EXISTS (SELECT FROM fresh f WHERE f.digest = b.digest)
"""
_RESOURCES = """
INSERT INTO bare_resource (subscription, meter, window_start, resource)
SELECT DISTINCT subscription, meter, window_start, resource FROM bare_batch WHERE kind = 0 ORDER BY 1, 2, 3, 4
ON CONFLICT DO NOTHING
"""
_HOURS = """
INSERT INTO bare_hour AS h (subscription, meter, hour, events, total)
SELECT subscription, meter, date_bin('1 hour', at, '2000-01-01Z'), count(*), sum(quantity)
FROM bare_batch GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
ON CONFLICT (subscription, meter, hour) DO UPDATE SET
    events = h.events + EXCLUDED.events, total = h.total + EXCLUDED.total
"""
_OFFSETS = """
INSERT INTO bare_offset SELECT unnest($1::integer[]), unnest($2::bigint[])
ON CONFLICT (kafka_partition) DO UPDATE SET next_offset = EXCLUDED.next_offset
"""
_decode = msgspec.json.Decoder(UsageEvent).decode


async def run(dsn: str, usage: UsageTopic, max_records: int) -> float:
    """Run the loop on a full topic; return events per second."""
    connection = await asyncpg.connect(dsn)
    numbers: dict[str, int] = {}
    try:
        await connection.execute(_CREATE)
        done, first, started = 0, 0, 0.0
        async for records in usage.batches(max_records):
            await _apply(connection, records, numbers)
            done += len(records)
            if not first:
                first, started = done, time.perf_counter()
        return (done - first) / (time.perf_counter() - started)
    finally:
        await connection.close()


async def _apply(
    connection: "asyncpg.Connection[asyncpg.Record]", records: list[ConsumerRecord], numbers: dict[str, int]
) -> None:
    placed: dict[bytes, tuple[int, Usage, int, int, int]] = {}
    nexts: dict[int, int] = {}
    for n, record in enumerate(records):
        nexts[record.partition] = record.offset + 1
        try:
            event = _decode(record.value)
        except (msgspec.MsgspecError, UnicodeError):
            continue
        usage = _usage(event, numbers)
        placed[usage.digest] = n, usage, record.timestamp * 1000, record.partition, record.offset
    async with connection.transaction():
        data, _ = rows.encode(list(placed.values()))
        await connection.copy_to_table("bare_batch", source=rows.stream(data), columns=rows.COLUMNS, format="binary")
        await connection.execute(_INSERT)
        await connection.execute(_RESOURCES)
        await connection.execute(_HOURS)
        await connection.execute(_OFFSETS, list(nexts), list(nexts.values()))


def _usage(event: UsageEvent, numbers: dict[str, int]) -> Usage:
    data, at_us = event.data, microseconds(event.time)
    number = numbers.setdefault
    quantity = data.quantity
    return Usage(
        blake2b(f"{event.source}\0{event.id}".encode(), digest_size=16).digest(),
        at_us,
        number(event.subject, len(numbers)),
        number(data.product, len(numbers)),
        int(data.product[-1]) % 2,  # half of the products count resources, as in the workload
        at_us - at_us % (15 * DAY_US),
        event.source,
        number(event.source, len(numbers)),
        data.product,
        1 if quantity is msgspec.UNSET else abs(int(quantity)),
        data.resource if isinstance(data.resource, str) else None,
        None,
    )
