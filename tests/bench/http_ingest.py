"""Ingest over HTTP: one metering process, until answered and until applied.

Answers follow ``acks=all``.
"""

import asyncio
import time
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from aiokafka import AIOKafkaProducer

from shared.events.topics import METERING_EVENTS_TOPIC
from tests.bench import platforms
from tests.bench.figures import Figures, percentile_ms
from tests.bench.http_client import closed_loop, http_pool
from tests.bench.ingest import reach
from tests.bench.loading import load_metering
from tests.bench.progress import say
from tests.bench.section import Section, Servers, section, settle
from tests.bench.workload import Workload
from tests.support.drivers.processes import ServiceProcess
from tests.support.servers.databases import connect

ACCEPTED = 202
WARM_EVENTS = 500


@dataclass(frozen=True, slots=True)
class Load:
    """One size of requests: events, connections, and its share of all events in ‰."""

    size: int
    connections: int
    per_mille: int


LOADS = (Load(1, 16, 100), Load(100, 8, 1_000), Load(1_000, 4, 1_500))


@dataclass(frozen=True, slots=True)
class Prepared:
    """Prepared requests as bytes, with the events of each."""

    load: Load
    events: list[list[bytes]]
    requests: list[bytes]

    @property
    def count(self) -> int:
        """The number of events."""
        return sum(map(len, self.events))


async def measure(servers: Servers, options: Namespace) -> Figures:
    """Measure the figures ``http_ingest_*``."""
    workload = Workload(0, options.subscriptions, datetime.now(UTC))
    figures: Figures = {}
    async with section(servers) as made:
        dsn = await made.database("metering")
        await load_metering(dsn, workload)
        await platforms.add_keys(dsn)
        await settle(servers, dsn)
        metering = await made.start("metering", dsn)
        bare = await made.start_bare()
        applied = await _warm_up(metering, dsn, workload)
        for number, load in enumerate(LOADS, 1):
            events = load.per_mille * options.http_events // 1_000 // load.size * load.size
            wanted = prepare(replace(workload, events=events), load, number * 10**9)
            name = f"http_ingest_batch_{load.size}"
            say(f"{name}: its ceilings")
            figures |= await _ceilings(made, bare, name, wanted)
            say(f"{name}: {wanted.count:,} events")
            figures |= await _ingest(metering, dsn, name, wanted, applied)
            applied += wanted.count
    return figures


def prepare(workload: Workload, load: Load, first: int) -> Prepared:
    """Make the requests before the measurement."""
    events = platforms.batches(workload, load.size, first)
    requests = [platforms.post(several, _product_of(several[0])) for several in events]
    return Prepared(load, events, requests)


def _product_of(event: bytes) -> int:
    return int(event.partition(b'"product":"product-')[2][:2])


async def _warm_up(metering: ServiceProcess, dsn: str, workload: Workload) -> int:
    few = prepare(replace(workload, events=WARM_EVENTS), LOADS[0], 0)
    async with http_pool(metering.port, few.load.connections, expected=ACCEPTED) as through:
        await closed_loop(through, few.requests)
    async with connect(dsn) as connection:
        await reach(connection, few.count)
    return few.count


async def _ingest(metering: ServiceProcess, dsn: str, name: str, wanted: Prepared, applied: int) -> Figures:
    async with (
        http_pool(metering.port, wanted.load.connections, expected=ACCEPTED) as through,
        connect(dsn) as connection,
    ):
        started = time.perf_counter()
        taken = await closed_loop(through, wanted.requests)
        answered = time.perf_counter() - started
        _, ended = await reach(connection, applied + wanted.count)
    return {
        f"{name}_events_per_second": round(wanted.count / (ended - started)),
        f"{name}_answered_per_second": round(wanted.count / answered),
        f"{name}_p50_ms": percentile_ms(taken, 50),
        f"{name}_p99_ms": percentile_ms(taken, 99),
        f"{name}_connections": wanted.load.connections,
    }


async def _ceilings(made: Section, bare: ServiceProcess, name: str, wanted: Prepared) -> Figures:
    """Measure ceilings: the bare service, and sending to the broker directly."""
    async with http_pool(bare.port, wanted.load.connections, expected=ACCEPTED) as through:
        started = time.perf_counter()
        taken = await closed_loop(through, wanted.requests)
        answered = time.perf_counter() - started
    acknowledged = await _acknowledged(made, wanted)
    return {
        f"{name}_ceiling_events_per_second": round(wanted.count / answered),
        f"{name}_ceiling_p99_ms": percentile_ms(taken, 99),
        f"{name}_acknowledged_events_per_second": round(wanted.count / sum(acknowledged)),
        f"{name}_acknowledged_p99_ms": percentile_ms(acknowledged, 99),
    }


async def _acknowledged(made: Section, wanted: Prepared) -> Sequence[float]:
    """Send batches one after another; return the seconds to each acknowledgement."""
    topic = made.topic(METERING_EVENTS_TOPIC)
    producer = AIOKafkaProducer(bootstrap_servers=made.servers.kafka, acks="all", enable_idempotence=True)
    await producer.start()
    taken = []
    try:
        for several in wanted.events:
            started = time.perf_counter()
            await asyncio.gather(*[await producer.send(topic, event, event[20:36]) for event in several])
            taken.append(time.perf_counter() - started)
    finally:
        await producer.stop()
    return taken
