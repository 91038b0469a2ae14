"""The benchmark's topic: filled once, read by each of its parts."""

import time
from collections.abc import AsyncIterator

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord

from deploy.local.topics import create_topics
from shared.events.topics import every_topic
from tests.bench.progress import say
from tests.bench.workload import Workload

PREFIX = "bench."
USAGE = f"{PREFIX}usage.events"
TENTH = 10


async def fill(servers: str, workload: Workload) -> None:
    """Create all topics and publish the workload."""
    await create_topics(servers, PREFIX, every_topic())
    producer = AIOKafkaProducer(
        bootstrap_servers=servers, enable_idempotence=True, linger_ms=20, max_batch_size=256 * 1024
    )
    await producer.start()
    started, size = time.perf_counter(), 0
    try:
        for number, (key, value) in enumerate(workload.records(), 1):
            last = await producer.send(USAGE, value, key)
            size += len(value)
            if number % (workload.events // TENTH) == 0:
                say(f"published {number:,} of {workload.events:,} events")
        await last
        await producer.flush()
    finally:
        await producer.stop()
    say(f"{size / workload.events:.0f} bytes each, {workload.events / (time.perf_counter() - started):,.0f} a second")


async def batches(servers: str, events: int, max_records: int) -> AsyncIterator[list[ConsumerRecord]]:
    """Everything on the topic, in batches as they come."""
    consumer = AIOKafkaConsumer(USAGE, bootstrap_servers=servers, auto_offset_reset="earliest", group_id=None)
    await consumer.start()
    try:
        seen = 0
        while seen < events:
            polled = await consumer.getmany(timeout_ms=500, max_records=max_records)
            records = [record for part in polled.values() for record in part]
            seen += len(records)
            if records:
                yield records
    finally:
        await consumer.stop()
