"""Fixtures of the runtime's tests."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from tests.conftest import MakeDatabase, StartService
from tests.support.drivers.runtime import Bench
from tests.support.drivers.tallies import MIGRATIONS, Tallies
from tests.support.servers.databases import as_owner, connect

_TABLE = "CREATE TABLE applied (id text NOT NULL, partition int NOT NULL, record_offset bigint NOT NULL)"


@pytest.fixture
async def bench(database: MakeDatabase, kafka_server: Any, topic_prefix: str) -> AsyncIterator[Bench]:
    """A database with a table ``applied``, topics of this test, and a producer."""
    dsn = await database("runtime")
    async with connect(as_owner(dsn)) as connection:
        await connection.execute(_TABLE)
    producer = AIOKafkaProducer(bootstrap_servers=kafka_server.bootstrap_servers, enable_idempotence=True)
    await producer.start()
    try:
        yield Bench(dsn, kafka_server.bootstrap_servers, topic_prefix, producer)
    finally:
        await producer.stop()


@pytest.fixture
async def tallies(bench: Bench, database: MakeDatabase, service_process: StartService) -> Tallies:
    """The tally service, with no process started."""
    return Tallies(bench, service_process, await database("alerts", MIGRATIONS))  # type: ignore[call-arg]
