"""Watches the topics that a service reads: their ends, ids and settings."""

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
    """Passes what it finds to each topic's consumers; run it as a background task."""

    def __init__(self, cluster: Cluster, consumers: Sequence[TopicConsumer]) -> None:
        self._cluster = cluster
        self._consumers = consumers
        """Not a copy: consumers are added while the service runs."""
        self._log = logging.get("topics")
        self._differences: list[str] = []
        self._compared_at: float | None = None

    async def run(self) -> None:
        """Watch until cancelled.

        An outage of Kafka or the database is only a debug line: other checks report it.
        """

        async def watch_once() -> float:
            try:
                await self.refresh()
            except (KafkaError, TransientError, *DATABASE_ERRORS) as error:
                self._log.debug("topics_not_watched", error=repr(error))
            return WATCH_SECONDS

        await repeat(watch_once)

    async def refresh(self) -> None:
        """Describe the topics once, and every ``SETTINGS_SECONDS`` compare their settings."""
        consumers = list(self._consumers)
        described = await self._cluster.describe({one.topic.name for one in consumers})
        ends = await self._cluster.ends(described)
        for consumer in consumers:
            await self._observe(consumer, described.get(consumer.topic.name), ends.get(consumer.topic.name, {}))
        if self._compared_at is None or time.monotonic() - self._compared_at > SETTINGS_SECONDS:
            await self._compare({one.topic.name: one.topic for one in consumers}, described)
            self._compared_at = time.monotonic()

    async def _observe(
        self, consumer: TopicConsumer, described: TopicDescription | None, ends: Mapping[int, int]
    ) -> None:
        """Update one consumer; its failure does not stop the others."""
        try:
            await consumer.observe(described, ends)
        except Exception as error:
            write = self._log.debug if is_transient(error) else self._log.error
            write("consumer_not_watched", topic=consumer.topic.name, error=repr(error))

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
        """Return whether the topics' settings fit ``topics.py``.

        A difference is the same for every replica.
        """
        differences = "; ".join(self._differences)
        return Check(
            ok=not differences,
            detail=f"{differences}. Records may be lost or misjudged: alter the topic"
            if differences
            else "as required",
            shared=True,
        )


def _fits(key: str, actual: str, wanted: str) -> bool:
    """Return whether a setting suffices.

    More may be retained and taken than wanted, and compaction may come earlier.
    """
    if key == "retention.ms":
        return actual == _FOREVER or (wanted != _FOREVER and int(actual) >= int(wanted))
    if key in ("max.message.bytes", "delete.retention.ms"):
        return int(actual) >= int(wanted)
    if key == "max.compaction.lag.ms":
        return int(actual) <= int(wanted)
    return set(actual.split(",")) == set(wanted.split(","))
