"""Fixtures: the whole product, started once per module."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from deploy.local.kafka import KafkaServer
from tests.support.drivers.product import SERVICES, Product


@pytest.fixture
async def product(
    database: Callable[[str], Awaitable[str]], kafka_server: KafkaServer, topic_prefix: str, tmp_path: Path
) -> AsyncIterator[Product]:
    """Start four services without any data; wait until they are ready."""
    databases = {name: await database(name) for name in SERVICES}
    async with Product(databases, kafka_server.bootstrap_servers, topic_prefix, tmp_path) as running:
        yield running
