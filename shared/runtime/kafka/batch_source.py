"""FastStream's broker with our own consumer.

The consumer waits for records, and gives each partition to one task at a time.
"""

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

POLL_MS = 1000
"""Longest wait of one poll for records."""
FREE_POLL_MS = 20
"""Longest wait for records of free partitions.

It applies while other tasks hold partitions that they may release.
"""
REREAD_SECONDS, REREAD_MAX_SECONDS = 0.01, 5.0
"""Pause before a batch that was not applied is read again.

It doubles up to the maximum, to prevent a busy loop.
"""
METADATA_MS = 10_000
"""Longest time until the client notices added partitions."""
BACKLOG_BATCHES = 4
"""Full batches behind which a partition counts as having a long backlog."""


class BatchConsumer(AIOKafkaConsumer):  # type: ignore[misc]
    """A consumer that waits for records in the fetch.

    FastStream's own pause would add latency, and work while idle.

    Several tasks may take batches from it; each applies its batch before it polls again. Until then its partitions are
    held for it, so that records of a partition stay in order. Records are ``Record``, topics without ``topic_prefix``.

    A batch is read again if its task polls again, or ends, without having marked it ``applied``. Records that were
    decoded and could not be returned are read again too, since the client's position is beyond them by then.
    """

    def __init__(self, *args: Any, topic_prefix: str, **kwargs: Any) -> None:
        self._records = RecordDeserializer(topic_prefix, self._note_unreadable)
        super().__init__(*args, **{**kwargs, "key_deserializer": self._records})
        self._holders: dict[asyncio.Task[Any] | None, set[TopicPartition]] = {}
        self._taken: dict[TopicPartition, tuple[asyncio.Task[Any] | None, int]] = {}
        """By partition, the task that took its batch, and the first offset.

        It is held until the batch is applied.
        """
        self._polling = asyncio.Lock()
        self._released = asyncio.Event()
        self._next: dict[TopicPartition, int] = {}
        self._round_robin = False
        self._failures = 0
        """Batches in a row that were not applied."""
        self.unreadable: dict[TopicPartition, str] = {}
        """By partition, why it cannot be read.

        The partition is paused, so that the others are read on.
        """
        self.out_of_range: set[TopicPartition] = set()
        """Partitions whose position is outside of the offsets in Kafka.

        They must be positioned first.
        """

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Read from ``offset`` on."""
        super().seek(partition, offset)
        self._next[partition] = offset

    def begin_at(self, partition: TopicPartition, offset: int) -> None:
        """Read from ``offset`` on; drop the partition's unapplied batch and faults."""
        self._taken.pop(partition, None)
        self.unreadable.pop(partition, None)
        self.out_of_range.discard(partition)
        self.seek(partition, offset)

    def clear(self) -> None:
        """Drop positions, unapplied batches and faults of all partitions.

        Call it when others are assigned.
        """
        self._taken.clear()
        self.unreadable.clear()
        self.out_of_range.clear()
        self._next.clear()

    def applied(self, partitions: Iterable[TopicPartition]) -> None:
        """Mark the batches of these partitions as applied."""
        self._failures = 0
        for tp in partitions:
            self._taken.pop(tp, None)

    def in_hand(self) -> set[int]:
        """The partitions whose batch is being applied."""
        return {tp.partition for tp in self._held() | set(self._taken)}

    async def read_to(self, partition: TopicPartition) -> int | None:
        """The offset below which everything is applied.

        ``None`` while a batch of the partition is being applied, or its position is unknown.
        """
        if partition in self._taken or partition in self._held() or partition not in self._next:
            return None
        position: int = await self.position(partition)
        return position

    async def getmany(
        self, *, timeout_ms: int = 0, max_records: int | None = None
    ) -> dict[TopicPartition, list[Record]]:
        """Wait for records of partitions that no other task holds.

        The result is empty after ``POLL_MS``. Batches that this task did not apply are read again first, after a pause
        that grows with each failure.
        """
        task = asyncio.current_task()
        if self._rewind_unapplied(task):
            self._failures += 1
            await asyncio.sleep(min(REREAD_SECONDS * 2**self._failures, REREAD_MAX_SECONDS))
        self._holders.pop(task, None)
        self._released.set()
        async with self._polling:
            try:
                found = await self._poll(max(timeout_ms, POLL_MS), max_records)
            except BaseException as error:
                self._rewind(self._held())
                if isinstance(error, (KafkaError, ConsumerStoppedError)) or not isinstance(error, Exception):
                    raise
                # After a KafkaError FastStream waits; after another error it ends this task, or retries in a busy loop.
                raise KafkaError(f"fetched records could not be returned: {error!r}") from error
            if found:
                self._holders[task] = set(found)
                self._taken.update({tp: (task, records[0].offset) for tp, records in found.items()})
        self._next.update((tp, records[-1].offset + 1) for tp, records in found.items())
        return found

    def _rewind_unapplied(self, task: asyncio.Task[Any] | None) -> bool:
        """Seek back to batches that were not applied; return whether there were any.

        These are batches of this task, or of one that has ended.
        """
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

    async def _poll(self, timeout_ms: int, max_records: int | None) -> dict[TopicPartition, list[Record]]:
        """Poll the free partitions until records come, or the timeout ends.

        It polls repeatedly while others are held, as these may be released.
        """
        give_up_at = time.monotonic() + timeout_ms / 1000
        while (left := give_up_at - time.monotonic()) > 0:
            self._released.clear()
            held = self._held()
            if max_records and (found := await self._of_furthest_behind(self.assignment() - held, max_records)):
                return found
            if not held:
                return await self._fetch(timeout_ms=int(left * 1000), max_records=max_records)
            if free := self.assignment() - held:
                if found := await self._fetch(*free, timeout_ms=FREE_POLL_MS, max_records=max_records):
                    return found
            else:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._released.wait(), left)
        return {}

    async def _of_furthest_behind(
        self, free: set[TopicPartition], max_records: int
    ) -> dict[TopicPartition, list[Record]]:
        """In every second call, fill a batch from the partition furthest behind.

        Otherwise the result is empty. It is done for long backlogs only: in plain rotation the longest would remain
        after all others.
        """
        self._round_robin = not self._round_robin
        behind = {tp: (self.highwater(tp) or 0) - self._next[tp] for tp in free if tp in self._next}
        furthest = max(behind, key=behind.__getitem__, default=None)
        if self._round_robin or furthest is None or behind[furthest] < BACKLOG_BATCHES * max_records:
            return {}
        found = await self._fetch(furthest, timeout_ms=0, max_records=max_records)
        wanted = max_records - len(found.get(furthest, ()))
        if found and wanted and len(free) > 1:
            with contextlib.suppress(KafkaError):  # the next poll raises it; what was found must not be lost
                found |= await self._fetch(*(free - {furthest}), timeout_ms=0, max_records=wanted)
        return found

    async def _fetch(self, *partitions: TopicPartition, **arguments: Any) -> dict[TopicPartition, list[Record]]:
        """Poll the client.

        Raises:
            KafkaError: it decoded more than it returned; the caller rewinds, or the rest would be lost.
        """
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
            raise KafkaError("the client decoded records that it did not return")
        return found

    def _rewind(self, held: Set[TopicPartition]) -> None:
        """Seek every partition outside ``held`` to the next record to return.

        It is the one after the last record that was returned.
        """
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
    """Connect the broker without starting its consumers.

    The broker would start them one after the other, in no certain order, each waiting for its partitions: a consumer of
    usage that waits for the projection would keep the projection's own consumer from starting.
    """
    await broker.connect()
    use_consumers(broker, BatchConsumer, topic_prefix=settings.kafka_topic_prefix)


def new_broker(settings: ServiceSettings, client: str, middlewares: Sequence[Any] = ()) -> KafkaBroker:
    """Make a broker for consumers only, named ``client``.

    Everything is published through the outbox.
    """
    install_record_deserializer()
    log = standard_logging.getLogger("faststream")
    log.addFilter(_is_relevant)
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


def _is_relevant(line: standard_logging.LogRecord) -> bool:
    """Drop FastStream's warning that this broker creates no topics, which is intended."""
    return "Topic creation is skipped" not in line.getMessage()
