"""A frozen listening connection: watchers are notified within 15 s.

It is frozen as after SIGSTOP of its backend.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any

from pydantic import SecretStr

from services.reporting.live_changes import LiveChanges
from services.reporting.settings import ReportingSettings
from services.reporting.store.notifications import CHANNEL
from shared.runtime.postgres import pool
from shared.runtime.postgres.listen import ALIVE_SECONDS, ANSWER_SECONDS, keep_listening
from tests.conftest import MakeDatabase
from tests.support.servers.databases import connect
from tests.support.servers.frozen import freezer

NOTIFIED_SECONDS = 15
SLACK_SECONDS = 3


@asynccontextmanager
async def listening(dsn: str, live: LiveChanges) -> AsyncIterator[None]:
    """Listen for notifications, and pass them to ``live``."""
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
    """Collects the changes of a subscription in a queue."""

    def __init__(self, live: LiveChanges, connection: Any) -> None:
        self._live = live
        self._connection = connection
        self.changes: asyncio.Queue[str] = asyncio.Queue()

    async def watch(self) -> None:
        """Collect changes until cancelled."""
        async with aclosing(self._live.changes("sub-1")) as changes:
            async for change in changes:
                self.changes.put_nowait(change.what)

    async def until(self, what: str) -> None:
        """Wait until a change of this kind arrives."""
        async with asyncio.timeout(NOTIFIED_SECONDS):
            while await self.changes.get() != what:
                pass

    async def until_notified(self) -> None:
        """Wait until a notification arrives."""
        async with asyncio.timeout(NOTIFIED_SECONDS):
            while True:
                await self._connection.execute(f"NOTIFY {CHANNEL.name}, 'subscription sub-1 channel'")
                with suppress(TimeoutError):
                    async with asyncio.timeout(0.3):
                        return await self.until("channel")


@asynccontextmanager
async def watching(dsn: str, through: str) -> AsyncIterator[tuple[LiveChanges, Watcher, Any]]:
    """Watch a subscription, with a listener that is connected by ``through``."""
    live = LiveChanges()
    async with connect(dsn) as connection, listening(through, live):
        watcher = Watcher(live, connection)
        task = asyncio.create_task(watcher.watch())
        try:
            await watcher.until_notified()
            while not watcher.changes.empty():
                watcher.changes.get_nowait()
            yield live, watcher, connection
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_watchers_are_notified_when_the_listening_connection_is_frozen(database: MakeDatabase) -> None:
    dsn = await database("reporting")
    assert ALIVE_SECONDS + ANSWER_SECONDS + SLACK_SECONDS < NOTIFIED_SECONDS
    async with freezer(dsn) as between, watching(dsn, between.dsn) as (live, watcher, connection):
        between.freeze()
        await connection.execute(f"NOTIFY {CHANNEL.name}, 'subscription sub-1 alert'")
        with live.outcome("waited-for") as woken:
            began = time.monotonic()
            await watcher.until("missed")
            await asyncio.wait_for(woken.wait(), NOTIFIED_SECONDS)
            assert time.monotonic() - began < NOTIFIED_SECONDS
        between.thaw()
        await watcher.until_notified()


async def test_listener_reconnects_when_its_backend_has_ended(database: MakeDatabase) -> None:
    dsn = await database("reporting")
    async with watching(dsn, dsn) as (_, watcher, connection):
        ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'test'"
        await connection.execute(f"{ended} AND datname = current_database()")
        await watcher.until("missed")
        await watcher.until_notified()
