"""Clients of a running metering, over Kafka and HTTP."""

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, TypeVar
from uuid import uuid4

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from shared.events.allocation import ProductChanged, SubscriptionCreated
from shared.events.envelope import Event, Payload, by_type, decode
from shared.events.metering import CONSUMPTION, ConsumptionSnapshot
from shared.events.state import ProductState, SubscriptionState
from shared.runtime.process.clock import utc_now
from tests.conftest import TEST_PARTITIONS
from tests.support.servers.databases import connect

T = TypeVar("T")


@asynccontextmanager
async def producer(servers: str) -> AsyncIterator[AIOKafkaProducer]:
    """Open a plain Kafka producer, as a platform uses."""
    client = AIOKafkaProducer(bootstrap_servers=servers, acks="all", enable_idempotence=True)
    await client.start()
    try:
        yield client
    finally:
        await client.stop()


async def send(client: AIOKafkaProducer, topic: str, values: Iterable[tuple[str, bytes | None]]) -> None:
    """Send (key, value) pairs and wait for the broker's acknowledgement."""
    futures = [await client.send(topic, value, key.encode()) for key, value in values]
    await asyncio.gather(*futures)


async def publish_states(
    client: AIOKafkaProducer, prefix: str, products: Iterable[ProductState], subscriptions: Iterable[SubscriptionState]
) -> None:
    """Publish the states of products and subscriptions, as allocation does."""
    payloads: list[tuple[str, Payload]] = [
        (product.id, ProductChanged(product=product, change="created")) for product in products
    ]
    payloads += [(state.id, SubscriptionCreated(subscription=state)) for state in subscriptions]
    await send(
        client,
        f"{prefix}allocation.events",
        [
            (key, Event[Any].of(one, id=str(uuid4()), source="/allocation", time=utc_now()).encode())
            for key, one in payloads
        ],
    )


async def until_projected(dsn: str, products: int, subscriptions: int) -> None:
    """Wait until this number of products and subscriptions is projected."""
    async with connect(dsn) as connection:

        async def known() -> tuple[int, int]:
            row = await connection.fetchrow(
                "SELECT (SELECT count(*) FROM product), (SELECT count(*) FROM subscription)"
            )
            assert row is not None
            return row[0], row[1]

        await until(known, lambda found: found == (products, subscriptions))


async def add_key(dsn: str, secret: str, product: str) -> None:
    """Insert an ingest key, as the command does."""
    async with connect(dsn) as connection:
        await connection.execute(
            "INSERT INTO ingest_key (id, product, secret_sha256, created_at, created_by, version)"
            " VALUES ($1, $2, $3, now(), 'vera@unitpool.example', 1)",
            f"key-{uuid4().hex[:8]}",
            product,
            hashlib.sha256(secret.encode()).digest(),
        )


async def payloads(servers: str, topic: str, kinds: Iterable[type[Payload]]) -> list[Any]:
    """Read the payloads of a topic, partition by partition, and check their keys."""
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=servers, auto_offset_reset="earliest")
    await consumer.start()
    found: list[Any] = []
    known = by_type(kinds)
    try:
        assert len(consumer.assignment()) == TEST_PARTITIONS
        ends = await consumer.end_offsets(list(consumer.assignment()))
        while any([await consumer.position(tp) < end for tp, end in ends.items()]):
            for records in (await consumer.getmany(timeout_ms=200)).values():
                for record in records:
                    event = decode(record.value, known)
                    assert event is not None
                    assert getattr(event.data, "key", record.key.decode()) == record.key.decode()
                    found.append(event.data)
    finally:
        await consumer.stop()
    return found


async def newest_snapshots(servers: str, prefix: str) -> dict[str, ConsumptionSnapshot]:
    """Read snapshots; return the newest by key, and check that revisions never fall."""
    newest: dict[str, ConsumptionSnapshot] = {}
    for one in await payloads(servers, f"{prefix}metering.consumption", CONSUMPTION):
        before = newest.get(one.key)
        assert before is None or before.revision <= one.revision
        newest[one.key] = one
    return newest


async def until(read: Callable[[], Awaitable[T]], wanted: Callable[[T], bool], seconds: float = 60) -> T:
    """Poll ``read`` until ``wanted`` holds for its value, and return that.

    Fails with the last value after ``seconds``.
    """
    deadline = time.monotonic() + seconds
    while True:
        seen = await read()
        if wanted(seen):
            return seen
        assert time.monotonic() < deadline, f"not within {seconds} s: {seen}"
        await asyncio.sleep(0.1)


def encoded(item: dict[str, Any]) -> tuple[str, bytes]:
    """Encode a usage event to its key and value."""
    return item["subject"], json.dumps(item).encode()
