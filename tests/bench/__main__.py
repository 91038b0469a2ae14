"""Run the benchmarks, print a table, write ``bench-results.json``."""

import argparse
import json
import logging
import os
import platform
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
import uvloop

from deploy.local import postgres_home
from deploy.local.kafka import KafkaServer
from deploy.local.postgres import PostgresServer
from tests.bench import (
    commands,
    entitlements,
    exports,
    growth,
    http_ingest,
    ingest,
    insights,
    latency,
    overview,
    snapshots,
    soak,
    table,
    usage,
)
from tests.bench.progress import say
from tests.bench.section import Servers
from tests.support.servers.databases import connect

RESULTS = Path("bench-results.json")
SECTIONS: dict[str, Callable[[Servers, argparse.Namespace], Awaitable[dict[str, Any]]]] = {
    "ingest": ingest.measure,
    "http": http_ingest.measure,
    "latency": latency.measure,
    "snapshots": snapshots.measure,
    "entitlements": entitlements.measure,
    "commands": commands.measure,
    "overview": overview.measure,
    "usage": usage.measure,
    "exports": exports.measure,
    "insights": insights.measure,
    "growth": growth.measure,
}
ON_DEMAND: dict[str, Callable[[Servers, argparse.Namespace], Awaitable[dict[str, Any]]]] = {"soak": soak.measure}
"""Sections that only run when they are named."""


@contextmanager
def servers(root: Path) -> Iterator[Servers]:
    """Yield the servers of the environment, or start new ones.

    The environment names them in ``UNITPOOL_TEST_POSTGRES_DSN`` and ``UNITPOOL_TEST_KAFKA``.
    """
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
        yield Servers(dsn, kafka, root)
    finally:
        kafka_server.kill()
        postgres_server.stop()
        postgres_home.delete(root / "postgres" / "data")


async def measure(around: Servers, options: argparse.Namespace, results: dict[str, Any]) -> None:
    """Run the wanted sections one after another; add their figures to ``results``."""
    for name in options.only:
        say(f"---- {name}")
        results |= await (SECTIONS | ON_DEMAND)[name](around, options)
    async with connect(around.admin_dsn) as connection:
        results["postgres"] = await connection.fetchval("SELECT version()")


def machine() -> dict[str, Any]:
    """Describe the machine and the versions that produced the figures."""
    names = ("aiokafka", "asyncpg", "fastapi", "faststream", "msgspec", "pydantic", "uvicorn", "uvloop")
    return {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": os.cpu_count(),
        "memory_mb": psutil.virtual_memory().total // 2**20,
        "load_average_before": [round(load, 2) for load in os.getloadavg()],
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in names},
    }


def arguments() -> argparse.Namespace:
    """Parse the options."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench", description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add(
        "--only",
        type=_sections,
        default=",".join(SECTIONS),
        help=f"sections, separated by commas; only if named: {', '.join(ON_DEMAND)} (--soak-minutes)",
    )
    add("--subscriptions", type=int, default=10_000, help="of all sections but commands, which has 2,000")
    add("--seconds", type=float, default=20, help="of commands, overviews and entitlements, each after a warm-up")
    add("--events", type=int, default=int(os.environ.get("UNITPOOL_BENCH_EVENTS", "400000")), help="of ingest")
    add("--batch", type=int, default=10_000, help="records in one transaction of ingest")
    add("--at-once", type=int, default=4, help="batches of usage at the same time, in the process of ingest")
    add(
        "--http-events",
        type=int,
        default=100_000,
        help="in requests of 100 events; more in those of 1,000, fewer in those of one",
    )
    add("--latency-rate", type=int, default=5_000, help="events a second")
    add("--latency-seconds", type=float, default=60, help="after the warm-up")
    add("--snapshot-events", type=int, default=200_000, help="events whose snapshots alerts and reporting read")
    add("--entitlement-rate", type=int, default=1_000, help="requests a second")
    add("--command-rate", type=int, default=commands.RATE, help="commands a second")
    add("--overview-rate", type=int, default=50, help="requests a second")
    add("--usage-rate", type=float, default=4, help="requests a second, each for a year of 25 products by day")
    add("--growth-events", type=int, default=200_000, help="ingested in either case")
    add("--growth-small", type=int, default=200_000, help="events stored before")
    add("--growth-large", type=int, default=2_000_000, help="events stored before")
    add("--soak-minutes", type=float, default=30, help="of publishing in the soak, without loading and draining")
    add("--soak-rate", type=int, default=5_000, help="events a second of the soak")
    add("--soak-backlog", type=int, default=100_000, help="events published at once before the steady rate")
    add("--soak-poison", action="store_true", help="one subscription's handling fails in all services until the end")
    add("--soak-sample-seconds", type=float, default=30, help="between two samples of memory and lag in the soak")
    return parser.parse_args()


def _sections(text: str) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in SECTIONS | ON_DEMAND]:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: there are {', '.join(SECTIONS | ON_DEMAND)}")
    return names


def main() -> int:
    """Run the benchmarks."""
    options = arguments()
    logging.getLogger("aiokafka").setLevel(logging.ERROR)  # it warns while new topics have no leader yet
    with tempfile.TemporaryDirectory(prefix="unitpool-bench-", ignore_cleanup_errors=True) as folder:
        before, results = machine(), dict[str, Any]()
        try:
            with servers(Path(folder)) as around:
                uvloop.run(measure(around, options, results))
        finally:  # the figures of earlier sections are written when one fails
            RESULTS.write_text(json.dumps({**results, "machine": before}, indent=2) + "\n")
            print("\n".join(table.lines(results)))
            print(f"written to {RESULTS}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
