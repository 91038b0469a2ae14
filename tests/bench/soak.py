"""A soak: metering, alerts and allocation at a steady rate for a long time.

It samples the memory of each process, the lag of its consumers, and the applied events. The figures show whether memory
or lag grows, and whether all published events are accounted for. It begins with a backlog: a process does not return
the memory of its largest batches, so these come first, and later growth is a leak. Half an hour at 5,000 events per
second takes about 10 GB of disk, so it only runs when it is named.
"""

import asyncio
import time
from argparse import Namespace
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice

import httpx
import psutil
from prometheus_client.parser import text_string_to_metric_families

from shared.events.topics import CONSUMPTION_TOPIC, USAGE
from shared.runtime.postgres.pool import Connection
from tests.bench.figures import Figures
from tests.bench.loading import load_alerts, load_allocation, load_metering
from tests.bench.progress import say
from tests.bench.section import Section, Servers, section, settle
from tests.bench.sending import portion_producer
from tests.bench.workload import Workload, subscription
from tests.support.drivers.processes import ServiceProcess
from tests.support.fakes.poisoned_subscription import poisoned
from tests.support.servers.databases import connect

LOADS = {"allocation": load_allocation, "metering": load_metering, "alerts": load_alerts}
STEP_SECONDS = 0.02
WARM_SHARE = 0.2
"""Part of the time after which growth is measured.

In it pools, caches and the interpreter's memory fill.
"""
START_SECONDS = 600
"""Longest start: allocation first creates the default roles of all accounts."""
DRAIN_SECONDS = 900
POISONED = subscription(3)
_LAG = "unitpool_consumer_lag_records"
_BOOKS = (
    "SELECT coalesce(sum(accepted), 0)::bigint AS accepted, coalesce(sum(applied), 0)::bigint AS applied,"
    " coalesce(sum(duplicate), 0)::bigint AS duplicate, coalesce(sum(quarantined), 0)::bigint AS quarantined FROM book"
)
FOLLOWED = {("metering", USAGE.name), ("alerts", CONSUMPTION_TOPIC.name), ("allocation", CONSUMPTION_TOPIC.name)}
"""Consumers whose lag is a figure, by process and topic."""


@dataclass(slots=True)
class Samples:
    """Samples by second: memory in MB and lag in records, by process."""

    memory: defaultdict[str, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))
    lag: defaultdict[tuple[str, str], list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))
    accepted: list[tuple[float, int]] = field(default_factory=list)
    set_aside: int = 0
    """Usage records of the poisoned subscription that were set aside.

    They are counted when all was published.
    """


async def measure(servers: Servers, options: Namespace) -> Figures:
    """Measure the figures ``soak_*``."""
    seconds, rate = options.soak_minutes * 60, options.soak_rate
    backlog = options.soak_backlog
    workload = Workload(backlog + int(seconds * rate), options.subscriptions, datetime.now(UTC))
    async with section(servers) as made:
        dsns = {service: await made.database(service) for service in LOADS}
        for service, load in LOADS.items():
            await load(dsns[service], workload)
            await settle(servers, dsns[service])
        processes = {service: await made.start(service, dsn, wait=False) for service, dsn in dsns.items()}
        for process in processes.values():
            await process.wait_ready(START_SECONDS)
        samples = Samples()
        async with connect(dsns["metering"]) as connection:
            sampling = asyncio.create_task(_sample(connection, processes, samples, options.soak_sample_seconds))
            poison = _Poison(dsns) if options.soak_poison else None
            try:
                if poison:
                    await poison.begin()
                await _publish(made, workload, rate, backlog)
                if poison:
                    samples.set_aside = await poison.end(connection)
                published = time.perf_counter()
                books = await _drained(connection, workload.events)
                if sampling.done():
                    sampling.result()  # it only ends with an error
            finally:
                sampling.cancel()
    return {
        "soak_minutes": options.soak_minutes,
        "soak_rate_events_per_second": rate,
        "soak_published": workload.events,
        **{f"soak_{name}": number for name, number in books.items()},
        "soak_exact": _is_exact(books, workload.events),
        "soak_set_aside_records": samples.set_aside,
        "soak_drained_seconds": round(time.perf_counter() - published, 1),
        **figures_of(samples, seconds),
    }


class _Poison:
    """One subscription with much usage, whose handling always fails everywhere."""

    def __init__(self, dsns: Mapping[str, str]) -> None:
        self._dsns = dsns
        self._open = AsyncExitStack()

    async def begin(self) -> None:
        """Make the handling of the subscription fail."""
        async with connect(self._dsns["metering"]) as connection:
            number = await connection.fetchval("SELECT number FROM subscription WHERE id = $1", POISONED)
        conditions = {
            "metering": ("usage", f"NEW.subscription = {number}"),
            "alerts": ("subscriptions", f"NEW.id = '{POISONED}'"),
            "allocation": ("consumption", f"NEW.subscription = '{POISONED}'"),
        }
        for service, (table, condition) in conditions.items():
            await self._open.enter_async_context(poisoned(self._dsns[service], table, condition))
        say(f"soak: {POISONED} is poisoned in {', '.join(conditions)}")

    async def end(self, metering: Connection) -> int:
        """Remove the cause; return the number of usage records that were set aside."""
        waiting: int = await metering.fetchval("SELECT count(*) FROM set_aside_records")
        await self._open.aclose()
        say(f"soak: the poison is gone; {waiting:,} records of usage were set aside")
        return waiting


async def _publish(made: Section, workload: Workload, rate: float, backlog: int) -> None:
    """Publish a backlog at once, then records in small portions when they are due."""
    say(f"soak: {backlog:,} events, then {rate:g} a second, {workload.events:,} in all")
    async with portion_producer(made.servers.kafka, made.prefix, USAGE.name) as producer:
        records, sent = workload.records(), 0
        producer.send(list(islice(records, backlog)))
        await producer.flush()
        started = time.perf_counter()
        while portion := list(islice(records, max(1, int(rate * STEP_SECONDS)))):
            await asyncio.sleep(max(0.0, started + sent / rate - time.perf_counter()))
            producer.send(portion)
            sent += len(portion)
    say(f"soak: all acknowledged, {time.perf_counter() - started - sent / rate:.1f} s late")


async def _sample(
    connection: Connection, processes: Mapping[str, ServiceProcess], samples: Samples, every_seconds: float
) -> None:
    """Take samples until cancelled."""
    started = time.perf_counter()
    async with httpx.AsyncClient(timeout=30) as http:
        while True:
            for service, process in processes.items():
                at = time.perf_counter() - started
                samples.memory[service].append((at, psutil.Process(process.pid).memory_info().rss / 2**20))
                for topic, records in _lags((await http.get(f"{process.url}/metrics")).text).items():
                    samples.lag[service, topic].append((at, records))
            samples.accepted.append((at, await connection.fetchval(f"SELECT accepted FROM ({_BOOKS}) AS books")))  # noqa: S608
            say(_line(samples))
            await asyncio.sleep(every_seconds)


def _lags(metrics: str) -> dict[str, float]:
    return {
        sample.labels["topic"]: sample.value
        for family in text_string_to_metric_families(metrics)
        if family.name == _LAG
        for sample in family.samples
    }


def _line(samples: Samples) -> str:
    at, accepted = samples.accepted[-1]
    memory = ", ".join(f"{service} {taken[-1][1]:.0f} MB" for service, taken in samples.memory.items())
    lag = ", ".join(f"{service} {taken[-1][1]:,.0f}" for (service, _), taken in _followed(samples).items())
    return f"soak: {at:.0f} s: {accepted:,} accepted; {memory}; lag: {lag}"


def _followed(samples: Samples) -> dict[tuple[str, str], list[tuple[float, float]]]:
    return {place: taken for place, taken in samples.lag.items() if place in FOLLOWED}


async def _drained(connection: Connection, events: int) -> dict[str, int]:
    """Wait until the books account for all events, or the limit; return the totals."""
    deadline = time.monotonic() + DRAIN_SECONDS
    while True:
        row = await connection.fetchrow(_BOOKS)
        books: dict[str, int] = dict(row) if row else {}
        if books["accepted"] >= events or time.monotonic() > deadline:
            return books
        await asyncio.sleep(0.5)


def _is_exact(books: Mapping[str, int], published: int) -> bool:
    outcomes = books["applied"] + books["duplicate"] + books["quarantined"]
    return published == books["accepted"] == outcomes


def figures_of(samples: Samples, seconds: float) -> Figures:
    """Return memory and lag at the start and the end.

    With the growth of memory after the warm-up.

    Start and end are means of the first and the last tenth of the samples taken while events were published.
    """
    figures: Figures = {}
    for service, seen in samples.memory.items():
        taken = [one for one in seen if one[0] <= seconds]
        warm = [one for one in taken if one[0] >= WARM_SHARE * seconds]
        figures[f"soak_{service}_memory_start_mb"] = round(_mean(warm[: len(warm) // 10 + 1]))
        figures[f"soak_{service}_memory_end_mb"] = round(_mean(warm[-(len(warm) // 10 + 1) :]))
        figures[f"soak_{service}_memory_growth_mb_per_hour"] = round(3600 * slope(warm), 1)
    for (service, _), seen in sorted(_followed(samples).items()):
        taken = [one for one in seen if one[0] <= seconds]
        tenth = len(taken) // 10 + 1
        figures[f"soak_{service}_lag_start_records"] = round(_mean(taken[:tenth]))
        figures[f"soak_{service}_lag_end_records"] = round(_mean(taken[-tenth:]))
        figures[f"soak_{service}_lag_growth_records_per_minute"] = round(60 * slope(taken))
    return figures


def _mean(taken: Sequence[tuple[float, float]]) -> float:
    return sum(value for _, value in taken) / len(taken) if taken else 0.0


def slope(taken: Sequence[tuple[float, float]]) -> float:
    """Return the growth per second, by least squares; 0 for fewer than two samples."""
    if len({at for at, _ in taken}) < 2:
        return 0.0
    mean_at, mean = sum(at for at, _ in taken) / len(taken), _mean(taken)
    spread = sum((at - mean_at) ** 2 for at, _ in taken)
    return sum((at - mean_at) * (value - mean) for at, value in taken) / spread
