"""The end of a topic, and waiting until a reader has applied it up to there."""

import asyncio
from collections.abc import Mapping, Sequence

from aiokafka import AIOKafkaConsumer, TopicPartition

from shared.runtime.delivery import offsets
from shared.runtime.kafka.client import client_arguments, partitions_of
from shared.runtime.postgres.pool import Pool
from shared.runtime.process.settings import ServiceSettings

POLL_SECONDS = 0.05

Partition = tuple[str, int]
"""A topic, named without the installation's prefix, and one of its partitions."""


async def load_ends(settings: ServiceSettings, client: str, topics: Sequence[str]) -> dict[Partition, int]:
    """The next offset of each partition that holds records.

    Raises:
        KafkaError: Kafka does not answer.
    """
    partitions = await partitions_of(settings, client, topics)
    consumer = AIOKafkaConsumer(**client_arguments(settings, client), isolation_level="read_committed")
    await consumer.start()
    try:
        begins = await consumer.beginning_offsets(partitions)
        ends = await consumer.end_offsets(partitions)
    finally:
        await consumer.stop()
    prefix = settings.kafka_topic_prefix
    return {(tp.topic.removeprefix(prefix), tp.partition): ends[tp] for tp in partitions if ends[tp] > begins[tp]}


async def load_applied(pool: Pool, reader: str, ends: Mapping[Partition, int]) -> dict[Partition, int]:
    """Load the offset below which ``reader`` has applied each partition.

    These are the partitions of ``ends``; an offset is at most the partition's end.
    """
    topics = {topic for topic, _ in ends}
    stored = {topic: await offsets.load(pool, reader, topic) for topic in topics}
    return {(topic, number): min(end, stored[topic].get(number, 0)) for (topic, number), end in ends.items()}


class TopicEnd:
    """The end of one topic, for frequent queries.

    Its own consumer stays connected and reads no record.
    """

    def __init__(self, settings: ServiceSettings, pool: Pool, *, reader: str, topic: str) -> None:
        self._settings = settings
        self._pool = pool
        self._reader = reader
        self._topic = topic
        self._consumer: AIOKafkaConsumer | None = None
        self._partitions: list[TopicPartition] = []

    async def run(self) -> None:
        """Stay connected until cancelled; run it as a background task."""
        client = f"{self._reader}-tail"
        self._partitions = await partitions_of(self._settings, client, [self._topic])
        consumer = AIOKafkaConsumer(**client_arguments(self._settings, client))
        try:
            await consumer.start()
            self._consumer = consumer
            await asyncio.Event().wait()
        finally:
            self._consumer = None
            await consumer.stop()

    async def wait_until_applied(self, timeout_seconds: float) -> bool:
        """Wait until the reader has applied all records that the topic has now.

        Returns whether it did in time.
        """
        try:
            async with asyncio.timeout(timeout_seconds):
                ends = await self._load_ends()
                while await load_applied(self._pool, self._reader, ends) != ends:  # noqa: ASYNC110 - applied by a consumer, maybe another process
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            return False
        return True

    async def _load_ends(self) -> dict[Partition, int]:
        while self._consumer is None:  # noqa: ASYNC110  # it is being started, or Kafka is away
            await asyncio.sleep(POLL_SECONDS)
        ends = await self._consumer.end_offsets(self._partitions)
        return {(self._topic, tp.partition): end for tp, end in ends.items()}
