"""Cost of a snapshot for its readers: alerts and reporting each read a full topic.

Processor time, not wall clock: beside metering it counts how much of the two cores is left.
"""

import asyncio
import json
import time
from argparse import Namespace
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import psutil
from aiokafka import AIOKafkaProducer

from services.metering.domain.consumption import MeterPart, Snapshot, encode
from shared.events.topics import CONSUMPTION_TOPIC
from shared.windows import Calendar
from tests.bench.figures import Figures
from tests.bench.loading import load_alerts, load_reporting
from tests.bench.progress import say
from tests.bench.section import Section, Servers, section, settle
from tests.bench.workload import BLOCK, METER, Workload
from tests.support.servers.databases import connect

ROUND_EVENTS = 1_250
"""Events between two snapshots of a key: those of a quarter of a second."""
POLL_SECONDS = 0.1
WAIT_SECONDS = 900
_DONE = "SELECT coalesce(sum(next_offset), 0)::bigint FROM consumer_offsets WHERE topic = 'metering.consumption'"
_FOLDER = "SELECT current_setting('data_directory')"


async def measure(servers: Servers, options: Namespace) -> Figures:
    """Measure the figures ``snapshot_*``."""
    workload = Workload(options.snapshot_events, options.subscriptions, datetime.now(UTC))
    figures: Figures = {}
    async with section(servers) as made:
        count = await fill(made, workload)
        for service, load in (("alerts", load_alerts), ("reporting", _load_reporting)):
            dsn = await made.database(service)
            await load(dsn, workload)
            await settle(servers, dsn)
            figures |= await drain(made, service, dsn, count)
    return {**figures, "snapshot_count": count}


async def _load_reporting(dsn: str, workload: Workload) -> None:
    await load_reporting(dsn, workload, 0)


def snapshots(workload: Workload) -> Iterator[tuple[bytes, bytes]]:
    """Yield key and value of each snapshot: per round, one of each used key.

    They are as metering publishes them.
    """
    calendars: dict[str, Calendar] = {state.id: state.calendar for state in workload.states()}
    totals: Counter[tuple[str, str, datetime]] = Counter()
    revisions: Counter[tuple[str, str, datetime]] = Counter()
    changed: dict[tuple[str, str, datetime], datetime] = {}
    for number, (_, value) in enumerate(workload.records(), 1):
        try:
            event = json.loads(value)
        except ValueError:
            continue
        at = datetime.fromisoformat(event["time"])
        key = event["subject"], event["data"]["product"], calendars[event["subject"]].window_at(at).start
        totals[key] += abs(event["data"]["quantity"])
        changed[key] = at
        if number % ROUND_EVENTS == 0:
            for one, as_of in changed.items():
                revisions[one] += 1
                end = calendars[one[0]].window_at(one[2]).end
                yield encode(_snapshot(one, end, revisions[one], totals[one], as_of), workload.now)
            changed = {}


def _snapshot(key: tuple[str, str, datetime], end: datetime, revision: int, total: int, as_of: datetime) -> Snapshot:
    consumed = -(-total // BLOCK)
    part = MeterPart(METER, "sum", "window", Decimal(total), 1, BLOCK, 1, consumed)
    return Snapshot(*key, end, revision, consumed, (part,), as_of)


async def fill(made: Section, workload: Workload) -> int:
    """Publish all snapshots; return their number."""
    producer = AIOKafkaProducer(bootstrap_servers=made.servers.kafka, acks="all", linger_ms=20)
    await producer.start()
    count = 0
    try:
        for count, (key, value) in enumerate(snapshots(workload), 1):  # noqa: B007  # counted
            await producer.send(made.topic(CONSUMPTION_TOPIC), value, key)
        await producer.flush()
    finally:
        await producer.stop()
    say(f"snapshots: {count:,} published")
    return count


async def drain(made: Section, service: str, dsn: str, count: int) -> Figures:
    """Return processor time per snapshot in microseconds, until all are applied.

    That of the service, and that of PostgreSQL.
    """
    process = await made.start(service, dsn, wait=False)
    ours, theirs = await _clocks(made, process.pid)
    async with asyncio.timeout(WAIT_SECONDS), connect(dsn) as connection:
        while not (first := await connection.fetchval(_DONE)):  # noqa: ASYNC110
            await asyncio.sleep(POLL_SECONDS)
        before, started = (ours(), theirs()), time.perf_counter()
        while await connection.fetchval(_DONE) < count:  # noqa: ASYNC110
            await asyncio.sleep(POLL_SECONDS)
    took, spent = time.perf_counter() - started, (ours() - before[0], theirs() - before[1])
    process.kill()
    python, postgres = (round(seconds / (count - first) * 1e6, 1) for seconds in spent)
    rate = (count - first) / took
    say(f"snapshots: {service} {python} us in Python, {postgres} us in PostgreSQL, {rate:,.0f} a second")
    return {f"snapshot_{service}_python_us": python, f"snapshot_{service}_postgres_us": postgres}


async def _clocks(made: Section, pid: int) -> tuple[Callable[[], float], Callable[[], float]]:
    """Return clocks of the processor time of the process and of PostgreSQL.

    In seconds; PostgreSQL's with all its backends.
    """
    async with connect(made.servers.admin_dsn) as connection:
        folder = Path(await connection.fetchval(_FOLDER))
    service, server = psutil.Process(pid), psutil.Process(int((folder / "postmaster.pid").read_text().split()[0]))

    def postgres() -> float:
        ended = server.cpu_times()
        return _used(server) + ended.children_user + ended.children_system + sum(map(_used, server.children()))

    return lambda: _used(service), postgres


def _used(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:  # a backend that has just ended
        return 0.0
    return float(times.user + times.system)
