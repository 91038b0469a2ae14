"""What a transaction gathers is written together, before its commit, and belongs to the part that gathered it."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import asyncpg
import pytest

from shared.runtime.delivery.batch_runner import transaction
from shared.runtime.postgres.pool import Connection
from shared.runtime.process.clock import utc_now
from tests.conftest import MakeDatabase
from tests.database import as_owner, connect


class Notes:
    """Rows that are written in sets."""

    def __init__(self, pool: Any) -> None:
        self.pool = pool
        self.sets: list[list[str]] = []

    async def write(self, connection: Connection, names: Sequence[str]) -> None:
        self.sets.append(list(names))
        await connection.execute("INSERT INTO notes SELECT * FROM unnest($1::text[])", list(names))

    async def rows(self) -> list[str]:
        return [row["name"] for row in await self.pool.fetch("SELECT name FROM notes ORDER BY name")]


@pytest.fixture
async def notes(database: MakeDatabase) -> AsyncIterator[Notes]:
    dsn = await database("runtime")
    async with connect(as_owner(dsn)) as connection:
        await connection.execute("CREATE TABLE notes (name text NOT NULL)")
    async with asyncpg.create_pool(dsn, min_size=1, max_size=2) as pool:
        yield Notes(pool)


async def test_what_is_gathered_is_written_once_together(notes: Notes) -> None:
    async with transaction(notes.pool, utc_now, "allocation") as tx:
        tx.gather(notes.write, "a")
        tx.gather(notes.write, "b")
        assert notes.sets == []
    assert notes.sets == [["a", "b"]]
    assert await notes.rows() == ["a", "b"]


async def test_whoever_reads_it_has_it_written_before(notes: Notes) -> None:
    async with transaction(notes.pool, utc_now, "allocation") as tx:
        tx.gather(notes.write, "a")
        await tx.write_gathered()
        assert await tx.connection.fetchval("SELECT count(*) FROM notes") == 1
        tx.gather(notes.write, "b")
    assert notes.sets == [["a"], ["b"]]


@pytest.mark.parametrize("lazy", [False, True])
async def test_what_an_undone_part_gathered_is_not_written(notes: Notes, lazy: bool) -> None:
    async with transaction(notes.pool, utc_now, "allocation") as tx:
        tx.gather(notes.write, "before")
        async with tx.savepoint(lazy=lazy) as undo:
            tx.gather(notes.write, "undone")
            undo()
        async with tx.savepoint(lazy=lazy):
            tx.gather(notes.write, "stays")
    assert await notes.rows() == ["before", "stays"]


async def test_an_undone_part_undoes_what_it_wrote_and_nothing_from_before(notes: Notes) -> None:
    async with transaction(notes.pool, utc_now, "allocation") as tx:
        tx.gather(notes.write, "before")
        async with tx.savepoint() as undo:
            tx.gather(notes.write, "undone, written")
            await tx.write_gathered()
            tx.gather(notes.write, "undone, not written")
            undo()
        tx.gather(notes.write, "after")
    assert await notes.rows() == ["after", "before"]


async def test_a_lazy_part_that_protects_itself_late_keeps_what_was_gathered_before_it(notes: Notes) -> None:
    async with transaction(notes.pool, utc_now, "allocation") as tx:
        tx.gather(notes.write, "before")
        async with tx.savepoint(lazy=True) as undo:
            await tx.protect()
            tx.gather(notes.write, "undone")
            await tx.write_gathered()
            undo()
    assert await notes.rows() == ["before"]


async def test_a_lazy_part_that_wrote_without_a_savepoint_cannot_be_undone(notes: Notes) -> None:
    async def write_and_undo() -> None:
        async with transaction(notes.pool, utc_now, "allocation") as tx, tx.savepoint(lazy=True) as undo:
            tx.gather(notes.write, "written")
            await tx.write_gathered()
            undo()

    with pytest.raises(RuntimeError, match="cannot be undone"):
        await write_and_undo()
    assert await notes.rows() == []
