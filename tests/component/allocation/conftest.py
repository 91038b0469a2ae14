"""Fixtures: a driver of allocation on an empty database."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from tests.conftest import MakeDatabase
from tests.support.drivers.allocation import AllocationDriver


@pytest.fixture
async def pool(database: MakeDatabase) -> AsyncIterator["asyncpg.Pool[asyncpg.Record]"]:
    """A pool of connections to a migrated, empty database."""
    opened = await asyncpg.create_pool(await database("allocation"), min_size=1, max_size=12)
    try:
        yield opened
    finally:
        await opened.close()


@pytest.fixture
def driver(pool: "asyncpg.Pool[asyncpg.Record]") -> AllocationDriver:
    """A driver on this pool."""
    return AllocationDriver(pool)
