"""Wait until the projection has reached the end of allocation.events."""

import asyncio

from aiokafka import AIOKafkaConsumer, TopicPartition

from services.metering.settings import MeteringSettings
from shared.events.topics import ALLOCATION_EVENTS_TOPIC
from shared.runtime.delivery import offsets
from shared.runtime.kafka.client import client_arguments, partitions_of
from shared.runtime.postgres.pool import Connection
from shared.runtime.service.command_line import Runtime

POLL_SECONDS = 0.05


class TopicTail:
    """The end offsets of allocation.events, by a consumer that reads no records."""

    def __init__(self, runtime: Runtime[MeteringSettings]) -> None:
        self._runtime = runtime
        self._consumer: AIOKafkaConsumer | None = None
        self._partitions: list[TopicPartition] = []

    async def run(self) -> None:
        """Stay connected to Kafka until cancelled."""
        settings, client = self._runtime.settings, f"{self._runtime.name}-tail"
        self._partitions = await partitions_of(settings, client, [ALLOCATION_EVENTS_TOPIC.name])
        consumer = AIOKafkaConsumer(**client_arguments(settings, client))
        try:
            await consumer.start()
            self._consumer = consumer
            await asyncio.Event().wait()
        finally:
            self._consumer = None
            await consumer.stop()

    async def catch_up(self, _: Connection) -> None:
        """Wait until the projection contains what the topic has now; at most ``catch_up_seconds``, then log."""
        try:
            async with asyncio.timeout(self._runtime.settings.catch_up_seconds):
                ends = await self._ends()
                while not await self._has_reached(ends):  # noqa: ASYNC110  # the consumer may be in another process, which sends no notification
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            self._runtime.log.warning("projection_lags", topic=ALLOCATION_EVENTS_TOPIC.name)

    async def _ends(self) -> dict[int, int]:
        while self._consumer is None:  # noqa: ASYNC110  # the consumer is starting, or Kafka is unavailable
            await asyncio.sleep(POLL_SECONDS)
        ends = await self._consumer.end_offsets(self._partitions)
        return {tp.partition: end for tp, end in ends.items()}

    async def _has_reached(self, ends: dict[int, int]) -> bool:
        stored = await offsets.load(self._runtime.pool, self._runtime.name, ALLOCATION_EVENTS_TOPIC.name)
        return all(stored.get(partition, 0) >= end for partition, end in ends.items())
