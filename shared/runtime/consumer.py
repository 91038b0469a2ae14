"""A topic's consumer: FastStream's batch subscriber, set up so that nothing is lost, doubled or skipped.

FastStream polls, hands over batches and counts them. Ours are: what a batch does
(``BatchRunner``), where reading begins (the offsets stored with the effects), and how errors that pass are sat out.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NoReturn

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import KafkaError
from faststream import AckPolicy
from faststream.exceptions import NackMessage
from faststream.kafka import KafkaBroker
from faststream.kafka import Topic as StreamTopic
from faststream.kafka.message import KafkaAckableMessage
from faststream.message import AckStatus

from shared.events.topics import Topic
from shared.runtime import logging, metrics, offsets
from shared.runtime.batches import BatchRunner, HaltError, RewoundError
from shared.runtime.delivery import Record, TransientError
from shared.runtime.hints import Hints
from shared.runtime.lag import ConsumerState, Lag
from shared.runtime.postgres import DATABASE_ERRORS, Pool
from shared.runtime.settings import ServiceSettings
from shared.runtime.trouble import Trouble, passes

REBALANCE_SECONDS = 60
"""How long a rebalance waits for the members. A running batch must end within it."""
HEARTBEAT_SECONDS = 1.0
"""A member hears of a rebalance by its heartbeat, and the others wait for it until then."""
GATHER_BYTES = 256 * 1024
"""A consumer that gathers waits for no more than this."""
FETCHED_BYTES, GATHERED_BYTES = 1024 * 1024, 4 * 1024 * 1024
"""So much of one partition is fetched at once, the next part when it is read: two batches for one that gathers."""
MAX_POLL_SECONDS = 300
"""A member that does not poll for this long is put out of the group; our batches are bounded far below it."""


class TopicConsumer:
    """One reader of one topic in this process. It applies as many batches at the same time as it has runners."""

    def __init__(
        self,
        broker: KafkaBroker,
        pool: Pool,
        runners: Sequence[BatchRunner],
        topic: Topic,
        *,
        reader: str,
        settings: ServiceSettings,
        max_records: int,
        instance: str | None = None,
        gather_ms: int = 0,
    ) -> None:
        self.topic = topic
        self.halted: str | None = None
        self._pool = pool
        self._idle = list(runners)
        self._further = len(runners) - 1
        self._applied = runners[0].applied
        self._reader = reader
        self._settings = settings
        self._log = logging.get(reader).bind(topic=topic.name)
        self._let_go = asyncio.Event()
        """Set while we are stopping or partitions are being taken away: no more retries in place."""
        self._stopping = False
        self._positioning: asyncio.Task[None] | None = None
        self._hints = Hints(self._commit, self._let_go)
        self._trouble = Trouble(settings.retry_delay_max_seconds)
        self._lag = Lag()
        self._subscriber = broker.subscriber(
            StreamTopic(f"{settings.kafka_topic_prefix}{topic.name}", declare=False),
            batch=True,
            max_records=max_records,
            batch_timeout_ms=1,  # FastStream sleeps for it after an empty poll; see PatientConsumer
            group_id=f"{settings.kafka_topic_prefix}{reader}.{topic.name}",
            group_instance_id=instance,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            fetch_max_wait_ms=gather_ms or settings.fetch_wait_ms,
            fetch_min_bytes=GATHER_BYTES if gather_ms else 1,
            max_partition_fetch_bytes=GATHERED_BYTES if gather_ms else FETCHED_BYTES,
            session_timeout_ms=int(settings.session_timeout_seconds * 1000),
            heartbeat_interval_ms=int(min(HEARTBEAT_SECONDS, settings.session_timeout_seconds / 3) * 1000),
            rebalance_timeout_ms=REBALANCE_SECONDS * 1000,
            max_poll_interval_ms=MAX_POLL_SECONDS * 1000,
            ack_policy=AckPolicy.NACK_ON_ERROR,
            no_reply=True,
            listener=_Listener(self),
            parser=self._parse,
            decoder=_decode,
        )
        self._subscriber(self._handle)

    # ---- what FastStream calls -------------------------------------------------------------------------------------

    async def _parse(self, records: tuple[Record, ...]) -> KafkaAckableMessage:
        """A message around the records. The default parser drops a whole batch for one header that is not UTF-8."""
        return KafkaAckableMessage(
            raw_message=records,  # ours, see PatientConsumer
            body=[record.value or b"" for record in records],  # for FastStream's metrics
            message_id=f"{records[0].partition}-{records[0].offset}",
            correlation_id="batch",
            consumer=self._consumer,
        )

    async def _handle(self, message: KafkaAckableMessage) -> None:
        """Apply one batch. It is acknowledged, or rewound, here and for its own partitions only.

        FastStream's own acknowledgement would commit the position of every partition that is assigned.
        """
        records: Sequence[Record] = message.raw_message
        self._lag.begin(records)
        runner = self._idle.pop()  # there are as many as tasks that take batches
        try:
            with metrics.BATCH_SECONDS.labels(topic=self.topic.name).time():
                await self._apply(runner, records)
        except HaltError as error:
            self.halt(str(error))
            self._give_back(message, records)
        except RewoundError as error:
            self._log.warning("offsets_set_back", reason=str(error))
            self.position()
            self._give_back(message, records)
        except Exception as error:
            if not passes(error):  # not a handler's: those end as dead letters
                self._log.exception("delivery_failed")
                self.halt(f"halted: an error of the delivery itself, {error!r}; see the log, then restart the service")
            self._give_back(message, records)
        finally:
            self._idle.append(runner)
            message.clear_cache()  # it holds itself, see _decode, and so the batch until garbage is collected
        message.committed = AckStatus.ACKED
        self._lag.end(records)
        await self._hints.add({record.partition: record.offset + 1 for record in records})

    def _give_back(self, message: KafkaAckableMessage, records: Sequence[Record]) -> NoReturn:
        """Have the records of partitions that are still ours read again."""
        message.committed = AckStatus.NACKED
        assigned = self._assigned()
        for record in reversed(records):
            if record.partition in assigned:
                self._consumer.seek(self._partition(record.partition), record.offset)
        raise NackMessage

    async def on_assigned(self, assigned: set[TopicPartition]) -> None:
        """Must pause before it awaits anything: otherwise records of Kafka's offset slip through."""
        self._consumer.pause(*assigned)
        if not self._stopping:
            self._let_go.clear()
        self._applied.clear()
        self._lag.forget()
        self.position()

    async def on_revoked(self) -> None:
        """Let the running batches end before somebody else gets their partitions."""
        self._let_go.set()
        self._cancel_positioning()
        await self._subscriber.lock.wait_release(REBALANCE_SECONDS - 15)  # type: ignore[attr-defined]
        await self._hints.told()

    # ---- what the service calls ------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin to read; returns once its partitions are assigned.

        Raises:
            KafkaError: Kafka does not answer.
        """
        subscriber = self._subscriber
        await subscriber.start()
        for _ in range(self._further):
            subscriber.add_task(subscriber._run_consume_loop, (subscriber.consumer,))

    def begin_stop(self) -> None:
        """Finish the running batch, but do not retry it any more."""
        self._stopping = True
        self._let_go.set()
        self._cancel_positioning()

    def halt(self, reason: str) -> None:
        """Take no more records until the service is started anew. The partitions stay ours, and unread."""
        self.halted = reason
        self._log.error("consumer_halted", reason=reason)
        if consumer := self._subscriber.consumer:
            consumer.pause(*consumer.assignment())

    def state(self, now: datetime) -> ConsumerState:
        """How it is doing."""
        records, seconds = self._lag.measure(now, self._applied, self._ends())
        return ConsumerState(self.topic.name, self._fault(), self.halted is not None, records, seconds)

    def _ends(self) -> dict[int, int]:
        """The end of each partition of ours, as the last fetch told it."""
        consumer = self._subscriber.consumer
        if consumer is None:
            return {}
        return {tp.partition: consumer.highwater(tp) or 0 for tp in consumer.assignment()}

    def _fault(self) -> str | None:
        if self.halted:
            return self.halted
        if not self._subscriber.running:
            return "not running"
        return self._trouble.fault

    # ---- one batch -------------------------------------------------------------------------------------------------

    async def _apply(self, runner: BatchRunner, records: Sequence[Record]) -> None:
        """Run the batch; sit out errors that pass, up to a bound, so long as the partitions are ours."""
        give_up_at = time.monotonic() + self._settings.retry_within_seconds
        while True:
            try:
                await runner.run(records)
            except Exception as error:
                if not passes(error):
                    raise
                delay = self._note_failure(error)
                if time.monotonic() + delay > give_up_at or await self._let_go_within(delay):
                    raise
            else:
                self._trouble.over()
                return

    def _note_failure(self, error: Exception) -> float:
        """Log it; the seconds until the next attempt."""
        delay = self._trouble.add(error)
        metrics.BATCH_RETRIES.labels(topic=self.topic.name).inc()
        self._log.warning(
            "batch_failed_for_now", error=self._trouble.reason, attempt=self._trouble.failures, again_in_seconds=delay
        )
        return delay

    async def _let_go_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._let_go.wait()
        except TimeoutError:
            return False
        return True

    async def _commit(self, nexts: Mapping[int, int]) -> None:
        """Tell Kafka how far we are: a hint for tools and for the start of a reader without stored offsets."""
        try:
            ours = {self._partition(p): offset for p, offset in nexts.items() if p in self._assigned()}
            if ours:
                await self._consumer.commit(ours)
        except (KafkaError, TransientError) as error:  # the consumer may be stopped by now
            self._log.info("kafka_commit_failed", error=repr(error))

    # ---- where to read ---------------------------------------------------------------------------------------------

    def position(self) -> None:
        """Seek to the stored offsets, as soon as the database tells them; nothing is read until then."""
        self._cancel_positioning()
        self._consumer.pause(*self._consumer.assignment())
        self._positioning = asyncio.create_task(self._seek_to_stored(), name=f"position-{self.topic.name}")

    def _cancel_positioning(self) -> None:
        if self._positioning:
            self._positioning.cancel()
            self._positioning = None

    async def _seek_to_stored(self) -> None:
        while True:
            try:
                assigned = self._consumer.assignment()
                stored = await offsets.load(self._pool, self._reader, self.topic.name)
                begins = await self._consumer.beginning_offsets(list(assigned))
                ends = await self._consumer.end_offsets(list(assigned))
                break
            except (*DATABASE_ERRORS, KafkaError) as error:
                await asyncio.sleep(min(self._note_failure(error), 1))
        self._trouble.over()
        self._applied.clear()
        for tp in assigned:
            offset = stored.get(tp.partition, 0)
            if fault := _misfit(tp, offset, begins[tp], ends[tp]):
                self.halt(fault)
                return
            if 0 < offset < begins[tp]:
                self._log.error("records_expired_unread", partition=tp.partition, first=offset, lost_before=begins[tp])
            self._consumer.seek(tp, max(offset, begins[tp]))
            self._applied[tp.partition] = offset
        if not self.halted:
            self._consumer.resume(*assigned)
            self._log.info("consumer_positioned", partitions=len(assigned))

    @property
    def _consumer(self) -> AIOKafkaConsumer:
        consumer = self._subscriber.consumer
        if consumer is None:
            raise TransientError("the consumer is stopped")
        return consumer

    def _assigned(self) -> set[int]:
        return {tp.partition for tp in self._consumer.assignment()}

    def _partition(self, number: int) -> TopicPartition:
        return TopicPartition(f"{self._settings.kafka_topic_prefix}{self.topic.name}", number)


def _misfit(tp: TopicPartition, stored: int, begin: int, end: int) -> str | None:
    """Why reading cannot go on from the stored offset, as a sentence."""
    if stored <= end:
        return None
    return (
        f"halted: the stored offset {stored} of {tp.topic}/{tp.partition} lies beyond the topic's end {end} "
        f"(it begins at {begin}), so the topic was created anew or lost records. Restore it, or have this reader begin "
        "again by deleting its rows in consumer_offsets, then restart the service"
    )


async def _decode(message: KafkaAckableMessage) -> KafkaAckableMessage:
    """The handler is given the message itself."""
    return message


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(self, owner: TopicConsumer) -> None:
        self._owner = owner

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:  # noqa: ARG002
        await self._owner.on_revoked()

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        await self._owner.on_assigned(assigned)
