"""A transaction whose statements see the database at one instant."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from shared.runtime.postgres.pool import Connection, Pool


@asynccontextmanager
async def consistent_read(pool: Pool) -> AsyncIterator[Connection]:
    """Open a read-only connection whose statements all see one snapshot.

    A request's time limit for the connection covers all statements together.
    """
    async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        yield connection
