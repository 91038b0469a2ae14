"""FastStream's Kafka broker as we use it: for consumers only, which wait for records instead of looking for them."""

import asyncio
import contextlib
import logging as standard_logging
import time
from collections.abc import Iterable, Sequence, Set
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import ConsumerStoppedError, KafkaError, NoOffsetForPartitionError, OffsetOutOfRangeError
from faststream.kafka import KafkaBroker

from shared.runtime.kafka.client import broker_security
from shared.runtime.patches import RecordDeserializer, install_record_deserializer, use_consumers
from shared.runtime.process import metrics
from shared.runtime.process.settings import ServiceSettings
from shared.runtime.records import Record

PATIENCE_MS = 1000
LOOK_MS = 20
AGAIN_SECONDS, AGAIN_MAX_SECONDS = 0.01, 5.0
"""Between a batch that was not applied and the next, doubled each time: what fails at once must not do so in a loop."""
METADATA_MS = 10_000
"""How long the client may not notice that partitions were added."""
BACKLOG_BATCHES = 4
"""A partition that is so many full batches behind has a long backlog."""


class BatchConsumer(AIOKafkaConsumer):  # type: ignore[misc]
    """Waits for records instead of looking for them: FastStream's own pause would be latency, and work while idle.

    Several tasks may take batches from it, each batch to be applied before its task asks for the next one. A partition
    is one task's until then, so that its records stay in order. Records are ours, with topics without ``topic_prefix``.

    What was taken and not said to be ``applied`` by the time its task asks again (or has ended) is read again, whatever
    went wrong in between; likewise what was decoded and could not be handed over, since the client has moved its
    position past it by then.
    """

    def __init__(self, *args: Any, topic_prefix: str, **kwargs: Any) -> None:
        self._records = RecordDeserializer(topic_prefix, self._note_unreadable)
        super().__init__(*args, **{**kwargs, "key_deserializer": self._records})
        self._holders: dict[asyncio.Task[Any] | None, set[TopicPartition]] = {}
        self._taken: dict[TopicPartition, tuple[asyncio.Task[Any] | None, int]] = {}
        """Who has taken records of a partition, and the first offset of them, until they are applied."""
        self._asking = asyncio.Lock()
        self._given_back = asyncio.Event()
        self._next: dict[TopicPartition, int] = {}
        self._in_turn = False
        self._failures = 0
        """Batches in a row that were taken and not applied."""
        self.unreadable: dict[TopicPartition, str] = {}
        """Partitions in which something cannot be read, and what: paused, so that they halt only themselves."""
        self.out_of_range: set[TopicPartition] = set()
        """Partitions whose position lies outside of what Kafka holds: nothing can be read until they are positioned."""

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Read on from there."""
        super().seek(partition, offset)
        self._next[partition] = offset

    def begin_at(self, partition: TopicPartition, offset: int) -> None:
        """Read on from there, whatever was taken or noted before."""
        self._taken.pop(partition, None)
        self.unreadable.pop(partition, None)
        self.out_of_range.discard(partition)
        self.seek(partition, offset)

    def forget(self) -> None:
        """Other partitions are ours now: what was taken of former ones is not ours to rewind."""
        self._taken.clear()
        self.unreadable.clear()
        self.out_of_range.clear()
        self._next.clear()

    def applied(self, partitions: Iterable[TopicPartition]) -> None:
        """What was taken of these partitions is applied."""
        self._failures = 0
        for tp in partitions:
            self._taken.pop(tp, None)

    def in_hand(self) -> set[int]:
        """The partitions of which a batch was taken and is not applied yet."""
        return {tp.partition for tp in self._held() | set(self._taken)}

    async def read_to(self, partition: TopicPartition) -> int | None:
        """Before which offset everything is read and applied; ``None`` while a batch of the partition is in hand."""
        if partition in self._taken or partition in self._held() or partition not in self._next:
            return None
        position: int = await self.position(partition)
        return position

    async def getmany(
        self, *, timeout_ms: int = 0, max_records: int | None = None
    ) -> dict[TopicPartition, list[Record]]:
        """As soon as there are records of partitions that nobody else holds; none after a second."""
        task = asyncio.current_task()
        if self._read_again(task):
            self._failures += 1
            await asyncio.sleep(min(AGAIN_SECONDS * 2**self._failures, AGAIN_MAX_SECONDS))
        self._holders.pop(task, None)
        self._given_back.set()
        async with self._asking:
            try:
                found = await self._ask(max(timeout_ms, PATIENCE_MS), max_records)
            except BaseException as error:
                self._rewind(self._held())
                if isinstance(error, (KafkaError, ConsumerStoppedError)) or not isinstance(error, Exception):
                    raise
                # FastStream would end this task, or begin again at once, for ever; after a KafkaError it waits.
                raise KafkaError(f"what was fetched cannot be handed over: {error!r}") from error
            if found:
                self._holders[task] = set(found)
                self._taken.update({tp: (task, records[0].offset) for tp, records in found.items()})
        self._next.update((tp, records[-1].offset + 1) for tp, records in found.items())
        return found

    def _read_again(self, task: asyncio.Task[Any] | None) -> bool:
        """Rewind to what this task, or one that has ended, took and did not apply; whether there was any."""
        assigned = self.assignment()
        before = len(self._taken)
        for tp, (owner, offset) in list(self._taken.items()):
            if owner is task or owner is None or owner.done():
                del self._taken[tp]
                if tp in assigned:
                    self.seek(tp, offset)
        return len(self._taken) < before

    def _held(self) -> set[TopicPartition]:
        return set().union(*(tps for task, tps in self._holders.items() if task and not task.done()))

    async def _ask(self, patience_ms: int, max_records: int | None) -> dict[TopicPartition, list[Record]]:
        """While others hold partitions, some are looked at again and again, since they may be given back meanwhile."""
        give_up_at = time.monotonic() + patience_ms / 1000
        while (left := give_up_at - time.monotonic()) > 0:
            self._given_back.clear()
            held = self._held()
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
        """What the client has for us. Where it decodes more than it returns, all that is free is read again."""
        found: dict[TopicPartition, list[Record]] = {}
        decoded = self._records.decoded
        try:
            found = await super().getmany(*partitions, **arguments)
        except (OffsetOutOfRangeError, NoOffsetForPartitionError) as error:
            self._count_fetch_error()
            self.out_of_range.update(error.args[0] if isinstance(error.args[0], dict) else [error.args[0]])
        except Exception:
            self._count_fetch_error()
            raise
        if self._records.decoded - decoded != sum(map(len, found.values())):
            raise KafkaError("the client has read records that it does not hand over")
        return found

    def _rewind(self, held: Set[TopicPartition]) -> None:
        """Back to what was handed over last, in every partition that the client may have moved without handing over."""
        for tp in self.assignment() - held:
            if tp in self._next:
                self.seek(tp, self._next[tp])

    def _count_fetch_error(self) -> None:
        for topic in self.subscription():
            metrics.FETCH_ERRORS.labels(topic=topic.removeprefix(self._records.prefix)).inc()

    def _note_unreadable(self, tp: TopicPartition, offset: int, error: Exception) -> None:
        self._count_fetch_error()
        self.unreadable[tp] = f"{tp.topic}/{tp.partition} cannot be read at offset {offset}: {error!r}"
        self.pause(tp)


async def connect(broker: KafkaBroker, settings: ServiceSettings) -> None:
    """Make it ready; consumers are started by themselves.

    Not by the broker: it starts them one after the other, in no certain order, and each waits for its partitions. One
    of usage that waits for the projection would keep the projection's own consumer from being started.
    """
    await broker.connect()
    use_consumers(broker, BatchConsumer, topic_prefix=settings.kafka_topic_prefix)


def new_broker(settings: ServiceSettings, client: str, middlewares: Sequence[Any] = ()) -> KafkaBroker:
    """FastStream's broker for consumers only: we publish with a producer of our own, by the outbox."""
    install_record_deserializer()
    log = standard_logging.getLogger("faststream")
    log.addFilter(_worth_saying)
    return KafkaBroker(
        settings.kafka_bootstrap_servers.split(","),
        client_id=client,
        security=broker_security(settings),
        consumer_only=True,
        apply_types=False,
        middlewares=middlewares,
        metadata_max_age_ms=METADATA_MS,
        graceful_timeout=settings.stop_within_seconds - 2,
        logger=log,
        log_level=standard_logging.DEBUG,
    )


def _worth_saying(line: standard_logging.LogRecord) -> bool:
    """FastStream warns that a broker for consumers creates no topics. It is not meant to."""
    return "Topic creation is skipped" not in line.getMessage()
