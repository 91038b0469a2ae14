"""Several statements that see the database at one instant."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from shared.runtime.postgres.pool import Connection, Pool


@asynccontextmanager
async def consistent_read(pool: Pool) -> AsyncIterator[Connection]:
    """A connection whose statements all see what was committed before the first of them, and which writes nothing.

    A request's time limit for the connection counts from here to the end, over all statements together.
    """
    async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        yield connection
