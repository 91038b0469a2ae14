"""Where allocation.events ends, and waiting until the projection has come as far."""

import asyncio

from aiokafka import AIOKafkaConsumer, TopicPartition

from services.metering.settings import MeteringSettings
from shared.events.topics import ALLOCATION_EVENTS_TOPIC
from shared.runtime.delivery import offsets
from shared.runtime.kafka.client import client_arguments, partitions_of
from shared.runtime.postgres.pool import Connection
from shared.runtime.service.command_line import Runtime

LOOK_SECONDS = 0.05


class TopicTail:
    """Looks at the topic with a consumer of its own that reads nothing."""

    def __init__(self, runtime: Runtime[MeteringSettings]) -> None:
        self._runtime = runtime
        self._consumer: AIOKafkaConsumer | None = None
        self._partitions: list[TopicPartition] = []

    async def run(self) -> None:
        """Stay connected until cancelled."""
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
        """Wait until everything that is in the topic now is in the projection; at most for the set time."""
        try:
            async with asyncio.timeout(self._runtime.settings.catch_up_seconds):
                ends = await self._ends()
                while not await self._has_reached(ends):  # noqa: ASYNC110  # another consumer, maybe of another process
                    await asyncio.sleep(LOOK_SECONDS)
        except TimeoutError:
            self._runtime.log.warning("projection_lags", topic=ALLOCATION_EVENTS_TOPIC.name)

    async def _ends(self) -> dict[int, int]:
        while self._consumer is None:  # noqa: ASYNC110  # it is being started, or Kafka is away
            await asyncio.sleep(LOOK_SECONDS)
        ends = await self._consumer.end_offsets(self._partitions)
        return {tp.partition: end for tp, end in ends.items()}

    async def _has_reached(self, ends: dict[int, int]) -> bool:
        stored = await offsets.load(self._runtime.pool, self._runtime.name, ALLOCATION_EVENTS_TOPIC.name)
        return all(stored.get(partition, 0) >= end for partition, end in ends.items())
