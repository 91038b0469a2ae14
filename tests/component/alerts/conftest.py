"""Fixtures: a running alerts service, and a receiver of its webhooks."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from tests.conftest import MakeDatabase, StartService
from tests.support.drivers.alerts import AlertsDriver
from tests.support.drivers.processes import service_env
from tests.support.drivers.runtime import Bench
from tests.support.servers.webhook_receiver import Receiver, receiving


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """Run a receiver of webhooks."""
    async with receiving() as one:
        yield one


@pytest.fixture
async def driver(
    database: MakeDatabase, kafka_server: Any, topic_prefix: str, service_process: StartService
) -> AsyncIterator[AlertsDriver]:
    """Start the service as a process, with real topics."""
    dsn = await database("alerts")
    env = service_env(
        "alerts",
        dsn=dsn,
        kafka=kafka_server.bootstrap_servers,
        topic_prefix=topic_prefix,
        allow_private_webhooks="true",
        retry_first_seconds="0.1",
        webhook_timeout_seconds="0.5",
        delivery_lease_seconds="2",
    )
    producer = AIOKafkaProducer(bootstrap_servers=kafka_server.bootstrap_servers, enable_idempotence=True)
    await producer.start()
    try:
        bench = Bench(dsn, kafka_server.bootstrap_servers, topic_prefix, producer)
        service = service_process("alerts", env)
        await service.wait_ready()
        yield AlertsDriver(bench, service, env)
    finally:
        await producer.stop()
