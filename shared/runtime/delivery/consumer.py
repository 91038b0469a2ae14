"""The consumer of one topic, which applies each record exactly once.

It is a batch subscriber of FastStream.
FastStream polls, hands over batches and counts them. Ours are: applying a batch (``BatchRunner``), finding the offsets
to begin at (``Positions``), and retrying after transient errors.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NoReturn

from aiokafka import ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import KafkaError
from faststream.exceptions import NackMessage
from faststream.kafka import KafkaBroker
from faststream.kafka.message import KafkaAckableMessage
from faststream.message import AckStatus

from shared.events.topics import Topic
from shared.runtime.delivery.backoff import Backoff, is_transient
from shared.runtime.delivery.batch_runner import BatchRunner, HaltError, RewoundError
from shared.runtime.delivery.lag import ConsumerState
from shared.runtime.delivery.offset_commits import OffsetCommits
from shared.runtime.delivery.positioning import Positioning
from shared.runtime.delivery.positions import Positions
from shared.runtime.delivery.progress import Progress
from shared.runtime.delivery.set_aside import SetAsideRetries, SetAsideState
from shared.runtime.delivery.subscription import REBALANCE_SECONDS, subscribe
from shared.runtime.delivery.transaction import TransientError
from shared.runtime.kafka.batch_source import BatchConsumer
from shared.runtime.kafka.cluster import Cluster, TopicDescription
from shared.runtime.patches import add_reader, wait_for_batches
from shared.runtime.process import logging, metrics
from shared.runtime.process.background import BackgroundTask, wait_until_set
from shared.runtime.process.clock import Clock
from shared.runtime.process.settings import ServiceSettings
from shared.runtime.records import Record

ISOLATE_AFTER = 3
"""Attempts at a whole batch before single records may be set aside.

These are records that alone meet a transient error.
"""
REREAD_SECONDS = 30.0
"""Pause before a partition with an unreadable record is read again."""


class TopicConsumer:
    """One reader of one topic in this process.

    It applies as many batches at a time as it has runners.
    """

    def __init__(
        self,
        broker: KafkaBroker,
        runners: Sequence[BatchRunner],
        topic: Topic,
        positions: Positions,
        *,
        retries: SetAsideRetries,
        cluster: Cluster,
        clock: Clock,
        reader: str,
        settings: ServiceSettings,
        max_records: int,
        instance: str | None = None,
        fill_wait_ms: int = 0,
    ) -> None:
        self.topic = topic
        self.halted: str | None = None
        self._idle = list(runners)
        self._further = len(runners) - 1
        self._applied = runners[0].applied
        self.positions = positions
        self._retries = BackgroundTask(f"set aside {topic.name}", retries.run)
        self._retrying: asyncio.Task[None] | None = None
        self._clock = clock
        self._settings = settings
        self._log = logging.get(reader).bind(topic=topic.name)
        self._revoking = asyncio.Event()
        """Set while the service stops or partitions are revoked.

        A batch is then no longer retried in place.
        """
        self._stopping = False
        self._offset_commits = OffsetCommits(self._commit, self._revoking)
        self._backoff = Backoff(settings.retry_delay_max_seconds)
        self._progress = Progress(topic.name, runners[0].applied, positions, cluster)
        self.positioning = Positioning(
            topic.name,
            positions,
            consumer=lambda: self._consumer,
            failed=self._note_failure,
            done=self._positioned,
            log=self._log,
        )
        self._unread_since: float | None = None
        self._lost = ""
        self._set_aside = SetAsideState()
        self._subscriber = subscribe(
            broker,
            topic,
            settings,
            reader=reader,
            instance=instance,
            max_records=max_records,
            fill_wait_ms=fill_wait_ms,
            listener=_Listener(self),
            parser=self._parse,
        )
        self._subscriber(self._handle)

    # ---- what FastStream calls -------------------------------------------------------------------------------------

    async def _parse(self, records: tuple[Record, ...]) -> KafkaAckableMessage:
        """Make a message around the records.

        The default parser drops a whole batch for one header that is not UTF-8.
        """
        return KafkaAckableMessage(
            raw_message=records,  # made by RecordDeserializer
            body=[record.value or b"" for record in records],  # for FastStream's metrics
            message_id=f"{records[0].partition}-{records[0].offset}",
            correlation_id="batch",
            consumer=self._consumer,
        )

    async def _handle(self, message: KafkaAckableMessage) -> None:
        """Apply one batch, and acknowledge or rewind its own partitions only.

        FastStream's own acknowledgement would commit the position of every partition that is assigned.
        """
        records: Sequence[Record] = message.raw_message
        self._progress.lag.begin(records)
        metrics.RECORDS_FETCHED.labels(topic=self.topic.name).inc(len(records))
        runner = self._idle.pop()  # there are as many as tasks that take batches
        try:
            with metrics.BATCH_SECONDS.labels(topic=self.topic.name).time():
                await self._apply(runner, records)
        except HaltError as error:
            self.halt(str(error))
            self._rewind(message)
        except RewoundError as error:
            self._log.warning("offsets_set_back", reason=str(error))
            self.positioning.begin()
            self._rewind(message)
        except Exception as error:
            if not is_transient(error):  # not a handler's: those end as dead letters
                self._log.exception("delivery_failed")
                self.halt(f"halted: an error of the delivery itself, {error!r}; see the log, then restart the service")
            self._rewind(message)
        finally:
            self._idle.append(runner)
            message.clear_cache()  # a reference cycle, see _decode, would hold the batch until garbage collection
        message.committed = AckStatus.ACKED
        nexts = {record.partition: record.offset + 1 for record in records}
        self._consumer.applied(map(self._partition, nexts))
        self._progress.lag.end(records)
        await self._offset_commits.add(nexts)

    def _rewind(self, message: KafkaAckableMessage) -> NoReturn:
        """Rewind: the next poll seeks back to the records that were not marked as applied."""
        message.committed = AckStatus.NACKED
        raise NackMessage

    async def on_assigned(self, assigned: set[TopicPartition]) -> None:
        """Pause the new partitions and look up their stored offsets.

        It must pause before it awaits anything, or records from the offset committed to Kafka are delivered.
        """
        self._consumer.pause(*assigned)
        self._consumer.clear()
        for tp in assigned:
            self._consumer.begin_at(tp, 0)  # any position, so that the client asks Kafka for none
        if not self._stopping:
            self._revoking.clear()
        self._applied.clear()
        self._progress.clear()
        self.positioning.begin()

    async def on_revoked(self) -> None:
        """Wait for the running batches, and commit their offsets.

        It returns before another process gets the revoked partitions.
        """
        self._revoking.set()
        self.positioning.cancel()
        await wait_for_batches(self._subscriber, REBALANCE_SECONDS - 15)
        await self._offset_commits.flush()

    # ---- what the service calls ------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin to read; return once partitions are assigned.

        Raises:
            KafkaError: Kafka does not answer.
        """
        subscriber = self._subscriber
        self._retrying = asyncio.create_task(self._retries.run(), name=self._retries.name)
        await subscriber.start()
        for _ in range(self._further):
            add_reader(subscriber)

    def begin_stop(self) -> None:
        """Stop after the running batches, without retrying them."""
        self._stopping = True
        if self._retrying:
            self._retrying.cancel()
        self._revoking.set()
        self.positioning.cancel()

    def halt(self, reason: str) -> None:
        """Take no more records until the service is restarted.

        The partitions stay assigned to it, unread.
        """
        self.halted = reason
        self._log.error("consumer_halted", reason=reason)
        if consumer := self._subscriber.consumer:
            consumer.pause(*consumer.assignment())

    def state(self, now: datetime) -> ConsumerState:
        """Its lag and faults, for readiness and metrics."""
        partitions = self._progress.states(now, self._reading())
        waiting = [(now - one.since).total_seconds() for one in partitions.values() if one.since]
        fault, shared = self._fault()
        return ConsumerState(
            self.topic.name,
            fault,
            (self.halted or self.positioning.misfit) is not None,
            sum(one.records for one in partitions.values()),
            max(waiting, default=0.0),
            partitions,
            "; ".join(filter(None, (self._lost, str(self._set_aside)))),
            shared,
        )

    def _fault(self) -> tuple[str | None, bool]:
        """What is wrong, as a sentence, and whether every replica has the same fault."""
        consumer = self._reading()
        if self.halted or self.positioning.misfit:
            return self.halted or self.positioning.misfit, False
        if consumer is None or not self._subscriber.running:
            return "not running", False
        if consumer.unreadable:
            return f"halted in part: {'; '.join(consumer.unreadable.values())}. See docs/runbooks/unreadable.md", False
        if self._backoff.fault:
            return self._backoff.fault, self._backoff.is_kafka
        if stalled := self._progress.stalled():
            return f"nothing is read of partitions {stalled} although they have records", False
        return None, False

    def _reading(self) -> BatchConsumer | None:
        consumer: BatchConsumer | None = self._subscriber.consumer
        return consumer

    # ---- checks against Kafka, beside the batches -------------------------------------------------------------------

    async def observe(self, described: TopicDescription | None, ends: Mapping[int, int]) -> None:
        """Compare with the topic in Kafka, and measure the lag.

        The partitions are positioned again if the topic was replaced. Called every few seconds.

        Raises:
            KafkaError, or one of ``DATABASE_ERRORS``: nothing was compared; the next call does it.
        """
        consumer = self._reading()
        known = self.positions.described
        if consumer is None or known is None or self.positioning.is_running:
            return
        if described is None or described.id != known.id or consumer.out_of_range:
            self.positioning.begin()
            return
        self._try_unreadable(consumer)
        await self._progress.observe(self._clock(), consumer, described, ends)
        self._lost = await self.positions.lost()
        self._set_aside = await self.positions.set_aside()
        metrics.SET_ASIDE_KEYS.labels(topic=self.topic.name).set(self._set_aside.keys)
        metrics.SET_ASIDE_RECORDS.labels(topic=self.topic.name).set(self._set_aside.records)

    def _try_unreadable(self, consumer: BatchConsumer) -> None:
        """Retry an unreadable partition now and then.

        Its record may have been skipped, or a codec installed, since.
        """
        if not consumer.unreadable:
            self._unread_since = None
        elif self._unread_since is None:
            self._unread_since = time.monotonic()
            self._log.error("partition_unreadable", partitions=list(consumer.unreadable.values()))
        elif time.monotonic() - self._unread_since > REREAD_SECONDS:
            self._unread_since = None
            self.positioning.begin(consumer.unreadable)

    # ---- one batch -------------------------------------------------------------------------------------------------

    async def _apply(self, runner: BatchRunner, records: Sequence[Record]) -> None:
        """Apply a batch, retrying transient errors.

        It is retried for a bounded time, and only while the partitions are assigned.
        """
        give_up_at = time.monotonic() + self._settings.retry_within_seconds
        attempts = 0
        while True:
            attempts += 1
            try:
                await runner.run(records, isolate=attempts > ISOLATE_AFTER)
            except Exception as error:
                if not is_transient(error):
                    raise
                delay = self._note_failure(error)
                if time.monotonic() + delay > give_up_at or await self._revoked_within(delay):
                    raise
            else:
                self._backoff.reset()
                return

    def _note_failure(self, error: Exception) -> float:
        """Count and log a transient error; the seconds until the next attempt."""
        delay = self._backoff.add(error)
        metrics.BATCH_RETRIES.labels(topic=self.topic.name).inc()
        self._log.warning(
            "batch_retried", error=self._backoff.reason, attempt=self._backoff.failures, again_in_seconds=delay
        )
        return delay

    async def _revoked_within(self, seconds: float) -> bool:
        return await wait_until_set(self._revoking, seconds)

    async def _commit(self, nexts: Mapping[int, int]) -> None:
        """Commit offsets to Kafka.

        They serve tools, and the start of a reader without stored offsets.
        """
        try:
            ours = {self._partition(p): offset for p, offset in nexts.items() if p in self._assigned()}
            if ours:
                await self._consumer.commit(ours)
        except (KafkaError, TransientError) as error:  # the consumer may be stopped by now
            self._log.info("kafka_commit_failed", error=repr(error))

    # ---- where to read ---------------------------------------------------------------------------------------------

    def _positioned(self, found: dict[TopicPartition, int]) -> bool:
        """Note the offsets at which these partitions begin; whether they may be read."""
        self._backoff.reset()
        for tp, offset in found.items():
            self._progress.begin_at(tp.partition, offset)
        return not self.halted

    @property
    def _consumer(self) -> BatchConsumer:
        consumer = self._reading()
        if consumer is None:
            raise TransientError("the consumer is stopped")
        return consumer

    def _assigned(self) -> set[int]:
        return {tp.partition for tp in self._consumer.assignment()}

    def _partition(self, number: int) -> TopicPartition:
        return TopicPartition(f"{self._settings.kafka_topic_prefix}{self.topic.name}", number)


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(self, owner: TopicConsumer) -> None:
        self._owner = owner

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:  # noqa: ARG002
        await self._owner.on_revoked()

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        await self._owner.on_assigned(assigned)
