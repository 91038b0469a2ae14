"""The connection that listens stands still (as after SIGSTOP of its backend): who waits is told within 15 seconds."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any

from pydantic import SecretStr

from services.reporting.live_changes import LiveChanges
from services.reporting.settings import ReportingSettings
from services.reporting.store.notices import CHANNEL
from shared.runtime.postgres import pool
from shared.runtime.postgres.listen import ALIVE_SECONDS, ANSWER_SECONDS, keep_listening
from tests.conftest import MakeDatabase
from tests.support.servers.databases import connect
from tests.support.servers.frozen import freezer

TOLD_SECONDS = 15
SLACK_SECONDS = 3


@asynccontextmanager
async def listening(dsn: str, live: LiveChanges) -> AsyncIterator[None]:
    """``live`` hears what is told there."""
    settings = ReportingSettings(database_url=SecretStr(dsn))
    task = asyncio.create_task(
        keep_listening(lambda: pool.connect(settings, "test"), CHANNEL, live.apply_notification, live.recheck_all)
    )
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class Watcher:
    """What a watch of a subscription is told, as it comes."""

    def __init__(self, live: LiveChanges, connection: Any) -> None:
        self._live = live
        self._connection = connection
        self.told: asyncio.Queue[str] = asyncio.Queue()

    async def watch(self) -> None:
        """Until cancelled."""
        async with aclosing(self._live.changes("sub-1")) as changes:
            async for change in changes:
                self.told.put_nowait(change.what)

    async def until(self, what: str) -> None:
        """Until it is told."""
        async with asyncio.timeout(TOLD_SECONDS):
            while await self.told.get() != what:
                pass

    async def until_heard(self) -> None:
        """Until a notice comes through."""
        async with asyncio.timeout(TOLD_SECONDS):
            while True:
                await self._connection.execute(f"NOTIFY {CHANNEL.name}, 'subscription sub-1 channel'")
                with suppress(TimeoutError):
                    async with asyncio.timeout(0.3):
                        return await self.until("channel")


@asynccontextmanager
async def watching(dsn: str, through: str) -> AsyncIterator[tuple[LiveChanges, Watcher, Any]]:
    """Somebody watches, the connection ``through`` which they hear is well."""
    live = LiveChanges()
    async with connect(dsn) as connection, listening(through, live):
        watcher = Watcher(live, connection)
        task = asyncio.create_task(watcher.watch())
        try:
            await watcher.until_heard()
            while not watcher.told.empty():
                watcher.told.get_nowait()
            yield live, watcher, connection
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_who_waits_is_told_while_the_listening_connection_stands_still(database: MakeDatabase) -> None:
    dsn = await database("reporting")
    assert ALIVE_SECONDS + ANSWER_SECONDS + SLACK_SECONDS < TOLD_SECONDS
    async with freezer(dsn) as between, watching(dsn, between.dsn) as (live, watcher, connection):
        between.freeze()
        await connection.execute(f"NOTIFY {CHANNEL.name}, 'subscription sub-1 alert'")
        with live.outcome("waited-for") as woken:
            began = time.monotonic()
            await watcher.until("missed")
            await asyncio.wait_for(woken.wait(), TOLD_SECONDS)
            assert time.monotonic() - began < TOLD_SECONDS
        between.thaw()
        await watcher.until_heard()


async def test_the_listener_is_found_again_after_its_backend_ended(database: MakeDatabase) -> None:
    dsn = await database("reporting")
    async with watching(dsn, dsn) as (_, watcher, connection):
        ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'test'"
        await connection.execute(f"{ended} AND datname = current_database()")
        await watcher.until("missed")
        await watcher.until_heard()
