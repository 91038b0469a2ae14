"""A desk in front of a fresh database of allocation."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from tests.component.allocation.desk import Desk
from tests.conftest import MakeDatabase


@pytest.fixture
async def pool(database: MakeDatabase) -> AsyncIterator["asyncpg.Pool[asyncpg.Record]"]:
    """Connections to a migrated database."""
    opened = await asyncpg.create_pool(await database("allocation"), min_size=1, max_size=12)
    try:
        yield opened
    finally:
        await opened.close()


@pytest.fixture
def desk(pool: "asyncpg.Pool[asyncpg.Record]") -> Desk:
    """Hand in commands here."""
    return Desk(pool)
