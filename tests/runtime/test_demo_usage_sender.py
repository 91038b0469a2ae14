"""The demo's usage sender while Kafka is away."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

from aiokafka import AIOKafkaConsumer

from deploy.local.demo.usage import UsageEvent
from deploy.local.demo.usage_sender import UsageSender
from deploy.local.layout import Layout, Ports
from deploy.local.topics import create_topics
from shared.events.topics import USAGE
from tests.support.drivers.runtime import until
from tests.support.servers.local import running_kafka


def some(first: int) -> list[UsageEvent]:
    """Ten events."""
    now = datetime.now(UTC)
    return [UsageEvent(at=now, key=f"k{n}", value=str(n).encode()) for n in range(first, first + 10)]


async def test_usage_arrives_when_kafka_was_away_while_it_was_sent(tmp_path: Path) -> None:
    with running_kafka(tmp_path) as kafka:
        await create_topics(kafka.bootstrap_servers, topics=[USAGE])
        layout = Layout(tmp_path, Ports(kafka=kafka.port))
        sender, late = UsageSender(layout), UsageSender(layout)
        try:
            await sender.report(some(0))
            await asyncio.to_thread(kafka.kill)
            known = asyncio.create_task(sender.report(some(10)))
            new = asyncio.create_task(late.report(some(20)))
            await until(lambda: not (known.done() or new.done()), what="both to wait")
            await asyncio.to_thread(kafka.restart)
            await asyncio.wait_for(asyncio.gather(known, new), 120)
        finally:
            await sender.stop()
            await late.stop()
        assert await found(kafka.bootstrap_servers) == set(range(30))


async def found(servers: str) -> set[int]:
    """The numbers of the events that arrived."""
    consumer = AIOKafkaConsumer(USAGE.name, bootstrap_servers=servers, auto_offset_reset="earliest")
    await consumer.start()
    try:
        values: set[int] = set()
        async with asyncio.timeout(30):
            while len(values) < 30:
                for records in (await consumer.getmany(timeout_ms=500)).values():
                    values |= {int(record.value) for record in records}
        return values
    finally:
        await consumer.stop()
