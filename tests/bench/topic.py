"""A topic of usage: filled once, read by whatever is measured on it."""

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord

from tests.bench.progress import say
from tests.bench.workload import Workload

TENTH = 10


@dataclass(frozen=True, slots=True)
class Filled:
    """A topic with so many events."""

    servers: str
    topic: str
    events: int

    async def batches(self, max_records: int) -> AsyncIterator[list[ConsumerRecord]]:
        """Everything on it, in batches as they come."""
        consumer = AIOKafkaConsumer(
            self.topic, bootstrap_servers=self.servers, auto_offset_reset="earliest", group_id=None
        )
        await consumer.start()
        try:
            seen = 0
            while seen < self.events:
                polled = await consumer.getmany(timeout_ms=500, max_records=max_records)
                records = [record for part in polled.values() for record in part]
                seen += len(records)
                if records:
                    yield records
        finally:
            await consumer.stop()


async def fill(empty: Filled, workload: Workload) -> None:
    """Publish the workload."""
    producer = AIOKafkaProducer(
        bootstrap_servers=empty.servers, enable_idempotence=True, linger_ms=20, max_batch_size=256 * 1024
    )
    await producer.start()
    started, size = time.perf_counter(), 0
    try:
        for number, (key, value) in enumerate(workload.records(), 1):
            last = await producer.send(empty.topic, value, key)
            size += len(value)
            if number % max(1, workload.events // TENTH) == 0:
                say(f"published {number:,} of {workload.events:,} events")
        await last
        await producer.flush()
    finally:
        await producer.stop()
    say(f"{size / workload.events:.0f} bytes each, {workload.events / (time.perf_counter() - started):,.0f} a second")
