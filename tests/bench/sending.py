"""A producer for a steady rate, as cheap as a platform's client.

Platforms' clients are not written in Python: with a future, a hash and a task for each event, the client took more of
two cores than metering.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from shared.runtime.kafka.bulk_producer import BulkProducer
from shared.runtime.kafka.producer import Producer
from shared.runtime.process.settings import ServiceSettings


class PortionProducer:
    """A producer of portions that does not wait for each acknowledgement."""

    def __init__(self, bulk: BulkProducer) -> None:
        self._bulk = bulk
        self._under_way: set[asyncio.Task[None]] = set()

    def send(self, records: Sequence[tuple[bytes, bytes]]) -> None:
        """Start to send keys with their values.

        Raises:
            KafkaError: an earlier portion was not acknowledged.
        """
        for done in [task for task in self._under_way if task.done()]:
            self._under_way.remove(done)
            done.result()
        self._under_way.add(asyncio.create_task(self._bulk.send([(value, key) for key, value in records])))

    async def flush(self) -> None:
        """Wait until all portions are acknowledged.

        Raises:
            KafkaError: a portion was not acknowledged.
        """
        await asyncio.gather(*self._under_way)


@asynccontextmanager
async def portion_producer(kafka: str, prefix: str, topic: str) -> AsyncIterator[PortionProducer]:
    """Connect a producer; wait for all acknowledgements at the end of the block."""
    settings = ServiceSettings(
        kafka_bootstrap_servers=kafka,
        kafka_topic_prefix=prefix,
        kafka_compression="none",  # platforms choose the compression, at their own cost
        database_url="postgresql://nobody@nowhere/none",
    )
    producer = Producer(settings, "platforms")
    await producer.start()
    try:
        portions = PortionProducer(BulkProducer(producer, topic))
        yield portions
        await portions.flush()
    finally:
        await producer.stop()
