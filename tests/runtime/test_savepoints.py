"""A savepoint that is rolled back leaves no row, no event and no callback."""

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from shared.events.topics import ALERTS_EVENTS_TOPIC
from shared.runtime.delivery import outbox
from shared.runtime.delivery.batch_runner import transaction
from shared.runtime.process.clock import utc_now
from shared.runtime.records import Outgoing
from tests.conftest import MakeDatabase
from tests.support.servers.databases import as_owner, connect


@pytest.fixture
async def pool(database: MakeDatabase) -> AsyncIterator[Any]:
    dsn = await database("runtime")
    async with connect(as_owner(dsn)) as connection:
        await connection.execute("CREATE TABLE notes (name text NOT NULL)")
    async with asyncpg.create_pool(dsn, min_size=1, max_size=2) as opened:
        yield opened


@pytest.mark.parametrize("by_error", [False, True])
async def test_only_the_block_is_rolled_back_when_a_savepoint_is_undone(pool: Any, by_error: bool) -> None:
    called: list[str] = []
    async with transaction(pool, utc_now, "allocation") as tx:

        async def note(name: str) -> None:
            await tx.connection.execute("INSERT INTO notes VALUES ($1)", name)
            tx.add(Outgoing(ALERTS_EVENTS_TOPIC.name, name.encode(), b"{}"))
            tx.after_commit(lambda: called.append(name))

        await note("before")
        try:
            async with tx.savepoint() as undo:
                await note("undone")
                async with tx.savepoint():
                    await note("undone, inside")
                int("no number") if by_error else undo()
        except ValueError:
            assert by_error
        async with tx.savepoint():
            await note("inside")
            async with tx.savepoint() as undo:
                await note("undone, inside another")
                undo()
        await note("after")
    wanted = ["before", "inside", "after"]
    assert [row["name"] for row in await pool.fetch("SELECT name FROM notes")] == wanted
    async with pool.acquire() as connection:
        assert [(row.key or b"").decode() for _, row in await outbox.load(connection, 10)] == wanted
    assert called == wanted
