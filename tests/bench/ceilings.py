"""Ceilings of ingest: the rates of consuming, decoding and copying alone."""

import time

import asyncpg

from services.metering.domain.decode import decode
from services.metering.domain.placement import Usage
from services.metering.domain.reasons import RejectedError
from services.metering.store import rows
from tests.bench.topic import UsageTopic

_CREATE = """
CREATE TEMPORARY TABLE copied (
    n integer, at timestamptz, received_at timestamptz, kafka_offset bigint, digest uuid, subscription integer,
    meter integer, source integer, kafka_partition integer, window_start timestamptz, kind smallint,
    midnight timestamptz, quantity numeric, resource text COLLATE "C", extra text
)
"""


async def consume_only(usage: UsageTopic, max_records: int) -> float:
    """Consume events and do nothing with them; return events per second."""
    started = time.perf_counter()
    async for _ in usage.batches(max_records):
        pass
    return usage.events / (time.perf_counter() - started)


def decode_only(values: list[bytes]) -> float:
    """Decode events in memory as metering does; return events per second."""
    started = time.perf_counter()
    for value in values:
        try:
            decode(value)
        except RejectedError:
            continue
    return len(values) / (time.perf_counter() - started)


async def copy_only(dsn: str, usage: list[Usage], max_records: int) -> float:
    """Encode and copy placed usage to a temporary table; return events per second."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(_CREATE)
        started = time.perf_counter()
        for start in range(0, len(usage), max_records):
            part = [(n, one, one.at_us, 0, n) for n, one in enumerate(usage[start : start + max_records])]
            await connection.copy_to_table(
                "copied", source=rows.stream(rows.encode(part)[0]), columns=rows.COLUMNS, format="binary"
            )
        return len(usage) / (time.perf_counter() - started)
    finally:
        await connection.close()


def invent_usage(count: int) -> list[Usage]:
    """Make placed usage for ``copy_only``."""
    at_us = 1_800_000_000_000_000
    return [
        Usage(
            n.to_bytes(16, "big"), at_us + n, n % 10_000, n % 25, n % 4, at_us, "", 1, "", n % 100,
            f"resource-{n % 500:06d}", None
        )
        for n in range(count)
    ]  # fmt: skip
