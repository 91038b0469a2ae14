"""The real thing: one metering process as it is deployed, on a topic that is full already."""

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from services.metering.store import projection
from tests.bench.progress import say
from tests.bench.topic import PREFIX
from tests.bench.workload import Workload
from tests.processes import service_env, start_service

LOOK_SECONDS = 0.05
SAY_SECONDS = 5
_DONE = "SELECT coalesce(sum(next_offset), 0)::bigint FROM consumer_offsets WHERE topic = 'usage.events'"
_DUE = "SELECT count(*) FROM snapshot_due"
_BOOKS = (
    "SELECT sum(accepted)::bigint, sum(applied)::bigint, sum(duplicate)::bigint, sum(quarantined)::bigint FROM book"
)


@dataclass(frozen=True, slots=True)
class Ingested:
    """What was measured. ``drained_seconds``: from the last event applied to its snapshot acknowledged."""

    events_per_second: float
    peak_rss_mb: float
    drained_seconds: float
    books: tuple[int, int, int, int]


async def prepare(dsn: str, workload: Workload) -> None:
    """Store the catalogue and the subscriptions, as the projection would have them."""
    connection = await asyncpg.connect(dsn)
    try:
        async with connection.transaction():
            await projection.save(connection, list(workload.states()), workload.products())
        await connection.execute("ANALYZE")
    finally:
        await connection.close()


async def run(dsn: str, servers: str, events: int, log: Path, **settings: int) -> Ingested:
    """Start the process with these settings, and measure from its first committed batch to its last."""
    own = {name: str(value) for name, value in settings.items()}
    env = service_env("metering", dsn=dsn, kafka=servers, topic_prefix=PREFIX, **own)
    process = start_service("metering", env, log=log)
    connection = await asyncpg.connect(dsn)
    try:
        first, started = await _reach(connection, 1)
        say(f"the first batch is applied: {first:,} events")
        last, ended = await _reach(connection, events)
        while await connection.fetchval(_DUE):  # noqa: ASYNC110  # another process publishes
            await asyncio.sleep(LOOK_SECONDS)
        drained = time.perf_counter() - ended
        books = await connection.fetchrow(_BOOKS)
        assert books is not None
        return Ingested((last - first) / (ended - started), _peak_rss_mb(process.pid), drained, tuple(books))
    finally:
        await connection.close()
        process.kill()


async def _reach(connection: "asyncpg.Connection[asyncpg.Record]", wanted: int) -> tuple[int, float]:
    said = time.perf_counter()
    while (done := await connection.fetchval(_DONE)) < wanted:
        if time.perf_counter() - said > SAY_SECONDS:
            said = time.perf_counter()
            say(f"{done:,} of {wanted:,} events applied")
        await asyncio.sleep(LOOK_SECONDS)
    return done, time.perf_counter()


def _peak_rss_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0
