"""Fixtures: metering's database with the small catalogue, and a running metering."""

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from tests.conftest import MakeDatabase, StartService
from tests.support.builders.metering import PRODUCTS, SUBSCRIPTIONS, save_catalogue
from tests.support.drivers.metering import KEY, Metering
from tests.support.drivers.metering_clients import add_key, producer, publish_states, until_projected
from tests.support.servers.databases import connect


@pytest.fixture
async def metering_dsn(database: MakeDatabase) -> str:
    """Create metering's database with the small catalogue and subscriptions."""
    dsn = await database("metering")
    async with connect(dsn) as connection:
        await save_catalogue(connection)
    return dsn


@pytest.fixture
async def connection(metering_dsn: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """Connect to that database."""
    async with connect(metering_dsn) as opened:
        yield opened


@pytest.fixture
async def metering(
    kafka_server: Any, topic_prefix: str, database: MakeDatabase, service_process: StartService
) -> AsyncIterator[Metering]:
    """Start metering as a process, with the small catalogue published on real topics."""
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
        await publish_states(client, topic_prefix, PRODUCTS, SUBSCRIPTIONS)
        process = service_process("metering", env)
        await process.wait_ready()
        await until_projected(dsn, len(PRODUCTS), len(SUBSCRIPTIONS))
        await add_key(dsn, KEY, "scan")
        yield Metering(env, process, client)
