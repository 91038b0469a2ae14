"""FastStream's Kafka broker as we use it: for consumers only, which wait for records instead of looking for them."""

import asyncio
import contextlib
import logging as standard_logging
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import ConsumerStoppedError, KafkaError
from faststream.kafka import KafkaBroker

from shared.runtime.delivery import Record
from shared.runtime.kafka import broker_security
from shared.runtime.received import WithoutPrefix, receive_our_records
from shared.runtime.settings import ServiceSettings

PATIENCE_MS = 1000
LOOK_MS = 20
BACKLOG_BATCHES = 4
"""A partition that is so many full batches behind has a long backlog."""


class PatientConsumer(AIOKafkaConsumer):  # type: ignore[misc]
    """Waits for records instead of looking for them: FastStream's own pause would be latency, and work while idle.

    Several tasks may take batches from it, each batch to be applied before its task asks for the next one. A partition
    is one task's until then, so that its records stay in order. Records are ours, with topics without ``topic_prefix``.
    """

    def __init__(self, *args: Any, topic_prefix: str, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "key_deserializer": WithoutPrefix(topic_prefix)})
        self._holders: dict[asyncio.Task[Any] | None, set[TopicPartition]] = {}
        self._asking = asyncio.Lock()
        self._given_back = asyncio.Event()
        self._next: dict[TopicPartition, int] = {}
        self._in_turn = False

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Read on from there."""
        super().seek(partition, offset)
        self._next[partition] = offset

    async def getmany(
        self, *, timeout_ms: int = 0, max_records: int | None = None
    ) -> dict[TopicPartition, list[Record]]:
        """As soon as there are records of partitions that nobody else holds; none after a second."""
        task = asyncio.current_task()
        self._holders.pop(task, None)
        self._given_back.set()
        async with self._asking:
            found = await self._ask(max(timeout_ms, PATIENCE_MS), max_records)
            if found:
                self._holders[task] = set(found)
        self._next.update((tp, records[-1].offset + 1) for tp, records in found.items())
        return found

    async def _ask(self, patience_ms: int, max_records: int | None) -> dict[TopicPartition, list[Record]]:
        """While others hold partitions, some are looked at again and again, since they may be given back meanwhile."""
        give_up_at = time.monotonic() + patience_ms / 1000
        while (left := give_up_at - time.monotonic()) > 0:
            self._given_back.clear()
            held = set().union(*(tps for task, tps in self._holders.items() if task and not task.done()))
            if max_records and (found := await self._of_furthest_behind(self.assignment() - held, max_records)):
                return found
            if not held:
                return await self._found(timeout_ms=int(left * 1000), max_records=max_records)
            if free := self.assignment() - held:
                if found := await self._found(*free, timeout_ms=LOOK_MS, max_records=max_records):
                    return found
            else:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._given_back.wait(), left)
        return {}

    async def _of_furthest_behind(
        self, free: set[TopicPartition], max_records: int
    ) -> dict[TopicPartition, list[Record]]:
        """Every second batch of a long backlog. By turns alone the largest partition would be left for last, alone."""
        self._in_turn = not self._in_turn
        behind = {tp: (self.highwater(tp) or 0) - self._next[tp] for tp in free if tp in self._next}
        furthest = max(behind, key=behind.__getitem__, default=None)
        if self._in_turn or furthest is None or behind[furthest] < BACKLOG_BATCHES * max_records:
            return {}
        found = await self._found(furthest, timeout_ms=0, max_records=max_records)
        wanted = max_records - len(found.get(furthest, ()))
        if found and wanted and len(free) > 1:
            with contextlib.suppress(KafkaError):  # it will be raised again; what was found is not lost for it
                found |= await self._found(*(free - {furthest}), timeout_ms=0, max_records=wanted)
        return found

    async def _found(self, *partitions: TopicPartition, **arguments: Any) -> dict[TopicPartition, list[Record]]:
        found: dict[TopicPartition, list[Record]]
        try:
            found = await super().getmany(*partitions, **arguments)
        except (KafkaError, ConsumerStoppedError):
            raise
        except Exception as error:  # FastStream would begin again at once, for ever; after a KafkaError it waits
            raise KafkaError(f"what was fetched cannot be read: {error!r}") from error
        return found


async def connect(broker: KafkaBroker, settings: ServiceSettings) -> None:
    """Make it ready; consumers are started by themselves.

    Not by the broker: it starts them one after the other, in no certain order, and each waits for its partitions. One
    of usage that waits for the projection would keep the projection's own consumer from being started.
    """
    await broker.connect()
    config = broker.config.broker_config
    theirs: dict[str, Any] = config.builder.keywords  # type: ignore[attr-defined]
    config.builder = partial(PatientConsumer, topic_prefix=settings.kafka_topic_prefix, **theirs)


def new_broker(settings: ServiceSettings, client: str, middlewares: Sequence[Any] = ()) -> KafkaBroker:
    """FastStream's broker for consumers only: we publish with a producer of our own, by the outbox."""
    receive_our_records()
    log = standard_logging.getLogger("faststream")
    log.addFilter(_worth_saying)
    return KafkaBroker(
        settings.kafka_bootstrap_servers.split(","),
        client_id=client,
        security=broker_security(settings),
        consumer_only=True,
        apply_types=False,
        middlewares=middlewares,
        graceful_timeout=settings.stop_within_seconds - 2,
        logger=log,
        log_level=standard_logging.DEBUG,
    )


def _worth_saying(line: standard_logging.LogRecord) -> bool:
    """FastStream warns that a broker for consumers creates no topics. It is not meant to."""
    return "Topic creation is skipped" not in line.getMessage()
