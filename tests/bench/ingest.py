"""Ingest from Kafka: one metering process on a full topic, with its ceilings."""

import asyncio
import time
from argparse import Namespace
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from services.metering.store import hours
from shared.events.topics import USAGE
from shared.runtime.postgres.pool import Connection
from tests.bench import bare_loop, ceilings, topic
from tests.bench.loading import load_metering
from tests.bench.progress import say
from tests.bench.section import Section, Servers, section, settle
from tests.bench.workload import Workload
from tests.support.servers.databases import as_owner, connect

POLL_SECONDS = 0.05
SAY_SECONDS = 5
_DONE = "SELECT coalesce(sum(next_offset), 0)::bigint FROM consumer_offsets WHERE topic = 'usage.events'"
_DUE = "SELECT count(*) FROM snapshot_due"
_BOOKS = (
    "SELECT sum(accepted)::bigint, sum(applied)::bigint, sum(duplicate)::bigint, sum(quarantined)::bigint FROM book"
)


@dataclass(frozen=True, slots=True)
class Ingested:
    """Measured values of one run.

    ``drained_seconds``: from the last event applied to its snapshot acknowledged. ``hours_seconds``: what adding up the
    hours that were due took afterwards, alone; a service does so every 300 s.
    """

    events_per_second: float
    peak_rss_mb: float
    drained_seconds: float
    hours_seconds: float
    books: tuple[int, int, int, int]


async def measure(servers: Servers, options: Namespace) -> dict[str, Any]:
    """Measure the figures ``ingest_*``."""
    workload = Workload(options.events, options.subscriptions, datetime.now(UTC))
    async with section(servers) as made:
        usage = topic.UsageTopic(servers.kafka, made.topic(USAGE), options.events)
        await topic.fill(usage, workload)
        figures = await _ceilings(made, usage, options)
        say("metering, as deployed")
        dsn = await made.database("metering")
        await load_metering(dsn, workload)
        await settle(servers, dsn)
        settings = {"usage_batch_records": options.batch, "usage_batches_at_once": options.at_once}
        real = await run(made, dsn, options.events, **settings)
    bare = figures["ingest_bare_loop_events_per_second"]
    return {
        "ingest_events_per_second": round(real.events_per_second),
        **figures,
        "ingest_ratio_to_bare_loop": round(real.events_per_second / bare, 3),
        "ingest_peak_rss_mb": round(real.peak_rss_mb),
        "ingest_snapshots_drained_seconds": round(real.drained_seconds, 2),
        "ingest_hours_added_seconds": round(real.hours_seconds, 2),
        "ingest_books": dict(zip(("accepted", "applied", "duplicate", "quarantined"), real.books, strict=True)),
        "ingest_events": options.events,
        "ingest_subscriptions": options.subscriptions,
        "ingest_batch_records": options.batch,
        "ingest_batches_at_once": options.at_once,
    }


async def _ceilings(made: Section, usage: topic.UsageTopic, options: Namespace) -> dict[str, int]:
    say("consume only")
    consumed = await ceilings.consume_only(usage, options.batch)
    say("decode only")
    values = [record.value async for part in usage.batches(options.batch) for record in part]
    decoded = ceilings.decode_only(values)
    del values
    dsn = await made.database("metering")
    say("copy only")
    copied = await ceilings.copy_only(dsn, ceilings.invent_usage(options.events), options.batch)
    say("bare loop")
    bare = await bare_loop.run(as_owner(dsn), usage, options.batch)
    return {
        "ingest_bare_loop_events_per_second": round(bare),
        "ingest_consume_only_events_per_second": round(consumed),
        "ingest_decode_only_events_per_second": round(decoded),
        "ingest_copy_only_events_per_second": round(copied),
    }


async def run(made: Section, dsn: str, events: int, *, until_published: bool = True, **settings: int) -> Ingested:
    """Run a process, and measure from its first committed batch to its last."""
    process = await made.start("metering", dsn, wait=False, **settings)
    async with connect(dsn) as connection:
        first, started = await reach(connection, 1)
        say(f"the first batch is applied: {first:,} events")
        last, ended = await reach(connection, events)
        while until_published and await connection.fetchval(_DUE):  # noqa: ASYNC110  # another process publishes
            await asyncio.sleep(POLL_SECONDS)
        drained = time.perf_counter() - ended
        books = await connection.fetchrow(_BOOKS)
        assert books is not None
        rss = _peak_rss_mb(process.pid)
        process.kill()
        began = time.perf_counter()
        async with connection.transaction():
            await hours.add_all(connection)
        added = time.perf_counter() - began
    return Ingested((last - first) / (ended - started), rss, drained, added, tuple(books))


async def reach(connection: Connection, wanted: int) -> tuple[int, float]:
    """Wait until this number of records is applied; return the number and the time."""
    printed_at = time.perf_counter()
    while (done := await connection.fetchval(_DONE)) < wanted:
        if time.perf_counter() - printed_at > SAY_SECONDS:
            printed_at = time.perf_counter()
            say(f"{done:,} of {wanted:,} events applied")
        await asyncio.sleep(POLL_SECONDS)
    return int(done), time.perf_counter()


def _peak_rss_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0
