"""A migrated database of metering with a small world in it, and a running metering with the same."""

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from tests.conftest import MakeDatabase, StartService
from tests.support.builders.metering import PRODUCTS, SUBSCRIPTIONS, save_world
from tests.support.drivers.metering import KEY, Metering
from tests.support.drivers.metering_clients import add_key, knows_world, producer, send_world
from tests.support.servers.databases import connect


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


@pytest.fixture
async def metering(
    kafka_server: Any, topic_prefix: str, database: MakeDatabase, service_process: StartService
) -> AsyncIterator[Metering]:
    """The service as a process of its own, between real topics."""
    dsn = await database("metering")
    env = {
        "UNITPOOL_KAFKA_BOOTSTRAP_SERVERS": kafka_server.bootstrap_servers,
        "UNITPOOL_KAFKA_TOPIC_PREFIX": topic_prefix,
        "UNITPOOL_METERING_DATABASE_URL": dsn,
        "UNITPOOL_METERING_USAGE_BATCH_RECORDS": "200",
        "UNITPOOL_METERING_CATCH_UP_SECONDS": "30",
        "UNITPOOL_METERING_SESSION_TIMEOUT_SECONDS": "2",
        "UNITPOOL_METERING_HOURS_SECONDS": "1",
    }
    async with producer(kafka_server.bootstrap_servers) as client:
        await send_world(client, topic_prefix, PRODUCTS, SUBSCRIPTIONS)
        process = service_process("metering", env)
        await process.wait_ready()
        await knows_world(dsn, len(PRODUCTS), len(SUBSCRIPTIONS))
        await add_key(dsn, KEY, "scan")
        yield Metering(env, process, client)
