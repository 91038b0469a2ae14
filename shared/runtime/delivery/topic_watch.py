"""Watches the topics that a service reads: their ends, their ids, and whether they are set up as they must be."""

import time
from collections.abc import Mapping, Sequence

from aiokafka.errors import KafkaError

from shared.events.topics import Topic
from shared.runtime.delivery.backoff import is_transient
from shared.runtime.delivery.consumer import TopicConsumer
from shared.runtime.delivery.transaction import TransientError
from shared.runtime.kafka.cluster import Cluster, TopicDescription
from shared.runtime.postgres.pool import DATABASE_ERRORS
from shared.runtime.process import logging
from shared.runtime.process.background import repeat
from shared.runtime.process.health import Check

WATCH_SECONDS = 2.0
SETTINGS_SECONDS = 30.0
_FOREVER = "-1"


class TopicWatch:
    """Run it as a background task. What it finds goes to each topic's consumers."""

    def __init__(self, cluster: Cluster, consumers: Sequence[TopicConsumer]) -> None:
        self._cluster = cluster
        self._consumers = consumers
        """As they are now: some are added while the service runs."""
        self._log = logging.get("topics")
        self._differences: list[str] = []
        self._compared_at: float | None = None

    async def run(self) -> None:
        """Until cancelled. While Kafka or the database is away it only waits: others say so."""

        async def watch_once() -> float:
            try:
                await self.look()
            except (KafkaError, TransientError, *DATABASE_ERRORS) as error:
                self._log.debug("topics_not_watched", error=repr(error))
            return WATCH_SECONDS

        await repeat(watch_once)

    async def look(self) -> None:
        """Once."""
        consumers = list(self._consumers)
        described = await self._cluster.describe({one.topic.name for one in consumers})
        ends = await self._cluster.ends(described)
        for consumer in consumers:
            await self._tell(consumer, described.get(consumer.topic.name), ends.get(consumer.topic.name, {}))
        if self._compared_at is None or time.monotonic() - self._compared_at > SETTINGS_SECONDS:
            await self._compare({one.topic.name: one.topic for one in consumers}, described)
            self._compared_at = time.monotonic()

    async def _tell(self, consumer: TopicConsumer, described: TopicDescription | None, ends: Mapping[int, int]) -> None:
        """One consumer that cannot be looked at keeps no other from it."""
        try:
            await consumer.observe(described, ends)
        except Exception as error:
            say = self._log.debug if is_transient(error) else self._log.error
            say("consumer_not_watched", topic=consumer.topic.name, error=repr(error))

    async def _compare(self, topics: Mapping[str, Topic], described: Mapping[str, TopicDescription]) -> None:
        configs = await self._cluster.configs(name for name in topics if name in described)
        found = [
            f"{name} has {key}={config[key]} instead of {wanted}"
            for name, config in sorted(configs.items())
            for key, wanted in topics[name].config().items()
            if not _fits(key, config.get(key, wanted), wanted)
        ]
        if found != self._differences:
            self._log.error("topic_settings_differ", differences=found)
        self._differences = found

    async def check(self) -> Check:
        """Whether the topics are set up as `topics.py` says. Where not, no replica could do better."""
        told = "; ".join(self._differences)
        return Check(
            ok=not told,
            detail=f"{told}. Records may be lost or misjudged: alter the topic" if told else "as they must be",
            shared=True,
        )


def _fits(key: str, is_: str, wanted: str) -> bool:
    """Whether a topic's setting serves: records may be kept for longer than we need them, never for less."""
    if key == "retention.ms":
        return is_ == _FOREVER or (wanted != _FOREVER and int(is_) >= int(wanted))
    if key == "max.message.bytes":
        return int(is_) >= int(wanted)
    return set(is_.split(",")) == set(wanted.split(","))
