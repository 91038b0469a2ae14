"""A migrated database of metering with a small world in it."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from tests.component.metering.world import save_world
from tests.conftest import MakeDatabase
from tests.database import connect


@pytest.fixture
async def metering_dsn(database: MakeDatabase) -> str:
    """Metering's database, with the catalogue and the subscriptions of ``world``."""
    dsn = await database("metering")
    async with connect(dsn) as connection:
        await save_world(connection)
    return dsn


@pytest.fixture
async def connection(metering_dsn: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """A connection to it."""
    async with connect(metering_dsn) as opened:
        yield opened
