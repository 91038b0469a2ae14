"""Driver of the tally service, which inserts a row per record.

It also publishes an event per record.
"""

import asyncio
import subprocess
import sys
from collections import Counter
from pathlib import Path

from shared.events.topics import ALERTS_EVENTS_TOPIC
from tests.conftest import StartService
from tests.support.drivers.processes import ROOT, ServiceProcess, service_env
from tests.support.drivers.runtime import Bench, until
from tests.support.fakes import tally
from tests.support.servers.databases import as_owner, connect

MODULE = "tests.support.fakes.tally"
MIGRATIONS = Path(tally.__file__).with_name("migrations")


class Tallies:
    """Processes of the tally service on one database, with its rows and events."""

    def __init__(self, bench: Bench, start: StartService, dsn: str) -> None:
        self.bench = bench
        self.dsn = dsn
        self._start = start

    def start(self, **settings: str) -> ServiceProcess:
        """Start a process of the tally service."""
        return self._start("alerts", self.env(**settings), module=MODULE)

    def env(self, **settings: str) -> dict[str, str]:
        """Return the variables of a process, with these settings."""
        return service_env("alerts", dsn=self.dsn, kafka=self.bench.kafka, topic_prefix=self.bench.prefix, **settings)

    async def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run a command of the service; return its exit code and output."""

        def call() -> "subprocess.CompletedProcess[str]":
            command = [sys.executable, "-m", MODULE, *arguments]
            env = {"PATH": "/usr/bin:/bin", **self.env(migrate_database_url=as_owner(self.dsn))}
            return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False)

        return await asyncio.to_thread(call)

    async def noted(self) -> Counter[str]:
        """Count the inserted rows by record."""
        async with connect(self.dsn) as connection:
            return Counter(row["id"] for row in await connection.fetch("SELECT id FROM tally"))

    async def has_noted(self, count: int) -> bool:
        """Whether at least ``count`` rows are inserted."""
        async with connect(self.dsn) as connection:
            return bool(await connection.fetchval("SELECT count(*) FROM tally") >= count)

    async def settled(self) -> bool:
        """Whether the outbox is empty."""
        async with connect(self.dsn) as connection:
            return bool(await connection.fetchval("SELECT count(*) = 0 FROM outbox"))

    async def assert_exactly(self, wanted: list[str]) -> None:
        """Assert one row and at least one event for each wanted record, and no others."""
        assert await self.noted() == Counter(wanted)
        await until(self.settled, what="an empty outbox")
        published = [(record.value or b"").decode() for record in await self.bench.records(ALERTS_EVENTS_TOPIC)]
        assert set(published) == set(wanted)
