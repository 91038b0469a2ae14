"""``python -m tests.bench``: measures, prints a table, writes ``bench-results.json``."""

import argparse
import asyncio
import json
import logging
import os
import platform
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import asyncpg
import psutil

from deploy.local import reach
from deploy.local.kafka import KafkaServer
from deploy.local.postgres import PostgresServer
from tests.bench import bare_loop, ceilings, ingest, topic
from tests.bench.progress import say
from tests.bench.workload import Workload
from tests.database import as_owner, create_database, drop_database

RESULTS = Path("bench-results.json")


@contextmanager
def servers(root: Path) -> Iterator[tuple[str, str]]:
    """PostgreSQL's administrator and Kafka's address: running ones, or our own on free ports."""
    dsn, kafka = os.environ.get("UNITPOOL_TEST_POSTGRES_DSN"), os.environ.get("UNITPOOL_TEST_KAFKA")
    postgres_server, kafka_server = PostgresServer(root / "postgres"), KafkaServer(root / "kafka")
    try:
        if not dsn:
            say("starting PostgreSQL")
            postgres_server.start()
            dsn = postgres_server.admin_dsn
        if not kafka:
            say("starting Kafka")
            kafka_server.start()
            kafka = kafka_server.bootstrap_servers
        yield dsn, kafka
    finally:
        kafka_server.kill()
        postgres_server.stop()
        reach.forget(root / "postgres" / "data")


async def measure(admin: str, kafka: str, options: argparse.Namespace, root: Path) -> dict[str, Any]:
    """The ingest figures."""
    workload = Workload(options.events, options.subscriptions, datetime.now(UTC))
    await topic.fill(kafka, workload)
    say("consume only")
    consumed = await ceilings.consume_only(kafka, options.events, options.batch)
    say("decode only")
    values = [record.value async for part in topic.batches(kafka, options.events, options.batch) for record in part]
    decoded = ceilings.decode_only(values)
    del values
    databases = [await create_database(admin, "metering") for _ in range(2)]
    try:
        say("copy only")
        copied = await ceilings.copy_only(databases[0], ceilings.invent_usage(options.events), options.batch)
        say("bare loop")
        bare = await bare_loop.run(as_owner(databases[0]), kafka, options.events, options.batch)
        say("metering, as deployed")
        await ingest.prepare(as_owner(databases[1]), workload)
        real = await ingest.run(
            databases[1],
            kafka,
            options.events,
            root / "metering.log",
            usage_batch_records=options.batch,
            usage_consumers=options.consumers,
        )
        server = await _server_version(admin)
    finally:
        for dsn in databases:
            await drop_database(admin, dsn)
    return {
        "ingest_events_per_second": round(real.events_per_second),
        "ingest_bare_loop_events_per_second": round(bare),
        "ingest_ratio_to_bare_loop": round(real.events_per_second / bare, 3),
        "ingest_consume_only_events_per_second": round(consumed),
        "ingest_decode_only_events_per_second": round(decoded),
        "ingest_copy_only_events_per_second": round(copied),
        "ingest_peak_rss_mb": round(real.peak_rss_mb),
        "ingest_snapshots_drained_seconds": round(real.drained_seconds, 2),
        "ingest_books": dict(zip(("accepted", "applied", "duplicate", "quarantined"), real.books, strict=True)),
        "ingest_events": options.events,
        "ingest_subscriptions": options.subscriptions,
        "ingest_batch_records": options.batch,
        "ingest_consumers": options.consumers,
        "postgres": server,
    }


def machine() -> dict[str, Any]:
    """What produced the figures."""
    names = ("aiokafka", "asyncpg", "faststream", "msgspec", "pydantic", "uvloop")
    return {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": os.cpu_count(),
        "memory_mb": psutil.virtual_memory().total // 2**20,
        "load_average_before": [round(load, 2) for load in os.getloadavg()],
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in names},
    }


async def _server_version(dsn: str) -> str:
    connection = await asyncpg.connect(dsn)
    try:
        return str(await connection.fetchval("SELECT version()"))
    finally:
        await connection.close()


def show(results: dict[str, Any]) -> None:
    """The table."""
    width = max(len(name) for name in results)
    for name, value in results.items():
        shown = f"{value:>12,}" if isinstance(value, int | float) else f"  {value}"
        print(f"{name:<{width}} {shown}")


def main() -> int:
    """Run the benchmarks."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--events", type=int, default=int(os.environ.get("UNITPOOL_BENCH_EVENTS", "400000")))
    parser.add_argument("--subscriptions", type=int, default=10_000)
    parser.add_argument("--batch", type=int, default=5_000, help="records in one transaction")
    parser.add_argument("--consumers", type=int, default=2, help="usage consumers in the process")
    options = parser.parse_args()
    logging.getLogger("aiokafka").setLevel(logging.ERROR)  # it warns while new topics find their leaders
    with tempfile.TemporaryDirectory(prefix="unitpool-bench-", ignore_cleanup_errors=True) as folder:
        root, before = Path(folder), machine()
        with servers(root) as (admin, kafka):
            results = asyncio.run(measure(admin, kafka, options, root))
    RESULTS.write_text(json.dumps({**results, "machine": before}, indent=2) + "\n")
    show(results)
    print(f"written to {RESULTS}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
