"""A transaction that is cancelled leaves a pool that is as it was.

This is so at whichever await it is cancelled, and there is no line in the log.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest

from services.reporting.store.consistent_read import consistent_read
from shared.runtime.delivery.batch_runner import transaction
from shared.runtime.postgres.pool import CLOSE_SECONDS, Connection, Pool, new_pool, open_pool, within_request
from shared.runtime.process.clock import utc_now
from shared.runtime.process.settings import ServiceSettings
from tests.conftest import MakeDatabase
from tests.support.servers.frozen import freezer

DEADLINE_SECONDS = 10
STEPS_MOST = 40

Block = Callable[[Pool], AbstractAsyncContextManager[Connection]]


class Interrupted:
    """Awaits ``work``, and cancels the task during it.

    The cancellations are at the await with number ``first`` and at ``more`` awaits after it. A deadline cancels once; a
    server that stops, or a cancel scope, cancels what is awaited afterwards as well.
    """

    def __init__(self, work: Coroutine[Any, Any, None], first: int, more: int) -> None:
        self._steps = work.__await__()
        self._range = range(first, first + more + 1)

    def __await__(self) -> Generator[Any, Any, None]:
        task = asyncio.current_task()
        assert task is not None
        number, error = 0, None
        while True:
            try:
                waited_for = self._steps.throw(error) if error else next(self._steps)
            except StopIteration:
                return
            number, error = number + 1, None
            if number in self._range:
                asyncio.get_running_loop().call_soon(task.cancel)
            try:
                yield waited_for
            except BaseException as thrown:
                error = thrown


@asynccontextmanager
async def written(pool: Pool) -> AsyncIterator[Connection]:
    """The transaction of a handler."""
    async with transaction(pool, utc_now, "alerts") as tx:
        yield tx.connection


@asynccontextmanager
async def within_a_savepoint(pool: Pool) -> AsyncIterator[Connection]:
    """The same, with a part that could be undone."""
    async with transaction(pool, utc_now, "alerts") as tx, tx.savepoint():
        yield tx.connection


@asynccontextmanager
async def of_a_connection(pool: Pool) -> AsyncIterator[Connection]:
    """As the runtime does where it needs no outbox."""
    async with pool.acquire() as connection, connection.transaction():
        yield connection


async def interrupted(pool: Pool, block: Block, first: int, more: int) -> bool:
    """Whether it was cancelled before its end."""

    async def work() -> None:
        async with block(pool) as connection:
            await connection.fetchval("SELECT 1")
            await connection.execute("SELECT pg_sleep(0.001)")

    async def run() -> None:
        await Interrupted(work(), first, more)

    (outcome,) = await asyncio.gather(asyncio.create_task(run()), return_exceptions=True)
    assert outcome is None or isinstance(outcome, asyncio.CancelledError)
    return outcome is not None


@pytest.fixture
async def lines() -> list[str]:
    """What the event loop would log as an error."""
    said: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: said.append(repr(context)))
    return said


@asynccontextmanager
async def opened(dsn: str) -> AsyncIterator[Pool]:
    """The pool of a service, with two connections."""
    settings = ServiceSettings.model_validate({"database_url": dsn, "pool_max_size": 2})
    pool = new_pool(settings, "alerts")
    await open_pool(pool, settings)
    try:
        yield pool
    finally:
        pool.terminate()


@pytest.mark.parametrize("more", [0, 1, STEPS_MOST], ids=["once", "twice", "always"])
@pytest.mark.parametrize("block", [consistent_read, written, within_a_savepoint, of_a_connection])
async def test_a_connection_is_clean_or_closed_when_its_transaction_is_cancelled_at_any_await(
    database: MakeDatabase, lines: list[str], block: Block, more: int
) -> None:
    async with opened(await database("runtime")) as pool:
        for limit_seconds in (None, 5.0):  # of a task, of a request
            for first in range(1, STEPS_MOST):
                within_request.set(limit_seconds)
                was_cancelled = await interrupted(pool, block, first, more)
                within_request.set(None)
                async with asyncio.timeout(DEADLINE_SECONDS), pool.acquire() as one, pool.acquire() as other:
                    assert not one.is_in_transaction()
                    assert not other.is_in_transaction()
                assert (first, lines) == (first, [])
                if not was_cancelled:
                    break
            assert first > 5, "BEGIN, two statements, COMMIT: each was cancelled"
            assert not was_cancelled


@pytest.mark.parametrize("block", [consistent_read, written])
async def test_the_place_is_free_soon_when_begin_is_cancelled_and_the_server_hangs(
    database: MakeDatabase, lines: list[str], block: Block
) -> None:
    async with freezer(await database("runtime")) as between, opened(between.dsn) as pool:
        connected = pool.get_size()
        between.freeze()
        async with asyncio.timeout(CLOSE_SECONDS * 3):
            assert await interrupted(pool, block, 1, 0)
        assert (pool.get_size(), lines) == (connected - 1, [])


@pytest.mark.parametrize("block", [consistent_read, written])
async def test_the_place_is_free_soon_when_a_commit_is_cancelled_and_the_server_hangs(
    database: MakeDatabase, lines: list[str], block: Block
) -> None:
    async with freezer(await database("runtime")) as between, opened(between.dsn) as pool:
        is_read, connected = asyncio.Event(), pool.get_size()

        async def work() -> None:
            async with block(pool) as connection:
                await connection.fetchval("SELECT 1")
                between.freeze()
                is_read.set()  # nothing is awaited from here to the COMMIT

        task = asyncio.create_task(work())
        await is_read.wait()
        task.cancel()
        async with asyncio.timeout(CLOSE_SECONDS * 3):  # asyncpg itself waits for as long as a statement may take
            await asyncio.gather(task, return_exceptions=True)
        assert (task.cancelled(), pool.get_size(), lines) == (True, connected - 1, [])
