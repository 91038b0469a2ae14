"""A small service inside the test's process, and a plain Kafka client."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord

from shared.events.envelope import Event, Payload
from shared.events.outcomes import DecisionRecorded
from shared.events.topics import Topic
from shared.runtime.process import logging
from shared.runtime.process.settings import ServiceSettings
from shared.runtime.service.definition import Runtime, ServiceDefinition
from shared.runtime.service.lifecycle import Lifecycle
from shared.runtime.signing import SIGNATURE_HEADER, parse_keys, sign
from tests.support.drivers.processes import COMMAND_KEYS

KEYS = parse_keys(COMMAND_KEYS)
Build = Callable[[Runtime[Any]], Awaitable[None] | None]
Headers = Sequence[tuple[str, bytes]]


@dataclass
class Bench:
    """The servers of one test: a database, a Kafka with a topic prefix, a producer."""

    dsn: str
    kafka: str
    prefix: str
    producer: AIOKafkaProducer
    migrations: Path = field(default_factory=lambda: Path("/nonexistent"))

    def settings(self, **more: Any) -> ServiceSettings:
        """Settings with a short session timeout and short pauses between retries."""
        defaults: dict[str, Any] = {
            "database_url": self.dsn,
            "kafka_bootstrap_servers": self.kafka,
            "kafka_topic_prefix": self.prefix,
            "command_keys": COMMAND_KEYS,
            "session_timeout_seconds": 3,
            "retry_delay_max_seconds": 0.3,
        }
        return ServiceSettings(**{**defaults, **more})

    @asynccontextmanager
    async def running(self, build: Build, *, name: Any = "alerts", **settings: Any) -> AsyncIterator[Runtime[Any]]:
        """Run a service with these consumers within the block."""
        logging.configure(name)
        definition = ServiceDefinition(name, ServiceSettings, build, self.migrations)
        runtime = Runtime(definition, self.settings(**settings))
        build(runtime)
        lifecycle = Lifecycle(runtime)
        await lifecycle.start()
        try:
            yield runtime
        finally:
            await lifecycle.stop()

    async def send(
        self, topic: Topic, value: bytes | None, *, key: bytes | None = None, partition: int = 0, headers: Headers = ()
    ) -> int:
        """Send one record; return its offset."""
        sent = await self.producer.send_and_wait(
            f"{self.prefix}{topic.name}", value, key, partition=partition, headers=list(headers)
        )
        return int(sent.offset)

    async def send_many(self, topic: Topic, values: Sequence[bytes], *, partitions: int = 3) -> None:
        """Send records, in turn to the partitions."""
        name = f"{self.prefix}{topic.name}"
        futures = [await self.producer.send(name, value, partition=i % partitions) for i, value in enumerate(values)]
        await asyncio.gather(*futures)

    async def send_command(self, topic: Topic, command: Event[Any], *, key: str = "s-1", **change: Any) -> None:
        """Send a command, signed as by reporting.

        ``signature`` replaces the signature; None omits it.
        """
        value = command.encode()
        signature = change.get("signature", sign(value, KEYS, topic.name))
        headers = [] if signature is None else [(SIGNATURE_HEADER, signature)]
        await self.send(topic, value, key=key.encode(), headers=headers)

    async def records(self, topic: str | Topic) -> list[ConsumerRecord]:
        """Read all records of a topic, partition by partition."""
        async with self._reading(topic) as consumer:
            found: list[ConsumerRecord] = []
            for partition, end in (await consumer.end_offsets(list(consumer.assignment()))).items():
                while await consumer.position(partition) < end:
                    for some in (await consumer.getmany(partition, timeout_ms=500)).values():
                        found.extend(some)
            return found

    async def ends(self, topic: str | Topic) -> dict[int, int]:
        """The next offset of each partition that has records."""
        async with self._reading(topic) as consumer:
            ends = await consumer.end_offsets(list(consumer.assignment()))
            return {partition.partition: end for partition, end in ends.items() if end}

    @asynccontextmanager
    async def _reading(self, topic: str | Topic) -> AsyncIterator[AIOKafkaConsumer]:
        name = f"{self.prefix}{topic if isinstance(topic, str) else topic.name}"
        consumer = AIOKafkaConsumer(name, bootstrap_servers=self.kafka, auto_offset_reset="earliest")
        await consumer.start()
        try:
            yield consumer
        finally:
            await consumer.stop()


async def until(condition: Callable[[], Any], *, within_seconds: float = 60, what: str = "the condition") -> Any:
    """Wait until ``condition`` returns, or awaits to, a true value; return it."""
    deadline = time.monotonic() + within_seconds
    while True:
        found = condition()
        if isinstance(found, Awaitable):
            found = await found
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come true within {within_seconds} s")
        await asyncio.sleep(0.03)  # a check often opens a connection to the database


def event(payload: Payload, **attributes: Any) -> Event[Any]:
    """Build an event of ``payload``, with a new id unless one is given."""
    defaults: dict[str, Any] = {"id": str(uuid4()), "source": "/test", "time": datetime.now(UTC)}
    wrapped: Event[Any] = Event[type(payload)].of(payload, **{**defaults, **attributes})  # type: ignore[misc]
    return wrapped


def reason_headers(record: ConsumerRecord) -> Mapping[str, str]:
    """The headers with the reason of a dead letter."""
    prefix = "unitpool-dead-letter-"
    return {name.removeprefix(prefix): value.decode() for name, value in record.headers if name.startswith(prefix)}


def audited(records: Sequence[ConsumerRecord]) -> list[Any]:
    """The audit records on ``audit.events``."""
    return [Event[DecisionRecorded].model_validate_json(record.value).data.record for record in records]
