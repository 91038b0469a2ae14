"""A topic of usage that is filled once and read by several measurements."""

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import islice

from aiokafka import AIOKafkaConsumer, ConsumerRecord

from tests.bench.progress import say
from tests.bench.sending import portion_producer
from tests.bench.workload import Workload

TENTH = 10
PORTION = 5_000


@dataclass(frozen=True, slots=True)
class UsageTopic:
    """A topic with this number of events."""

    servers: str
    topic: str
    events: int

    async def batches(self, max_records: int) -> AsyncIterator[list[ConsumerRecord]]:
        """Read all records, in batches as Kafka returns them."""
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


async def fill(empty: UsageTopic, workload: Workload) -> None:
    """Publish the workload."""
    started, size, done, records = time.perf_counter(), 0, 0, workload.records()
    async with portion_producer(empty.servers, "", empty.topic) as producer:
        while portion := list(islice(records, PORTION)):
            producer.send(portion)
            await producer.flush()
            size += sum(len(value) for _, value in portion)
            if (done + len(portion)) * TENTH // workload.events > done * TENTH // workload.events:
                say(f"published {done + len(portion):,} of {workload.events:,} events")
            done += len(portion)
    say(f"{size / workload.events:.0f} bytes each, {workload.events / (time.perf_counter() - started):,.0f} a second")
