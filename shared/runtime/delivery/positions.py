"""Stored positions of a reader in a topic, checked against the topic in Kafka."""

from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager
from typing import TypeAlias

from aiokafka import TopicPartition

from shared.runtime.delivery import offsets, set_aside
from shared.runtime.delivery.offsets import Loss, Stored
from shared.runtime.delivery.set_aside import SetAsideState
from shared.runtime.delivery.transaction import Transaction
from shared.runtime.kafka.batch_source import BatchConsumer
from shared.runtime.kafka.cluster import Cluster, TopicDescription
from shared.runtime.postgres.pool import Pool
from shared.runtime.process import logging, metrics

OnLost: TypeAlias = Callable[[Transaction, str, Loss], Awaitable[None]]
"""Called with the topic, in the transaction that records the loss."""
NewTransaction: TypeAlias = Callable[[], "AbstractAsyncContextManager[Transaction]"]


class MisfitError(Exception):
    """The stored offsets do not fit the topic in Kafka. The message says what to do."""


class Positions:
    """The stored offsets of one reader in one topic."""

    def __init__(
        self,
        pool: Pool,
        transaction: NewTransaction,
        cluster: Cluster,
        *,
        reader: str,
        topic: str,
        on_lost: OnLost | None = None,
        counted: Counter[str] | None = None,
    ) -> None:
        """Make the positions of ``reader`` in ``topic``.

        ``counted``: how many lost records the metric has already, by reason; shared by a process's consumers of the
        topic.
        """
        self._counted: Counter[str] = Counter() if counted is None else counted
        self._pool = pool
        self._transaction = transaction
        self._cluster = cluster
        self._reader = reader
        self._topic = topic
        self._on_lost = on_lost
        self._log = logging.get(reader).bind(topic=topic)
        self.described: TopicDescription | None = None
        """The topic as it was when the partitions were last positioned."""

    async def find(self, consumer: BatchConsumer, assigned: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """Find the next offset of each partition.

        New partitions get a row, and expired records are recorded as lost.

        Raises:
            MisfitError: the topic is missing, was replaced, or ends before the stored offset.
        """
        described = (await self._cluster.describe([self._topic])).get(self._topic)
        if described is None:
            raise MisfitError(f"halted: there is no topic {self._topic}; create it, and reading resumes automatically")
        stored = await offsets.load_stored(self._pool, self._reader, self._topic)
        begins = await consumer.beginning_offsets(list(assigned))
        ends = await consumer.end_offsets(list(assigned))
        for tp in assigned:
            if tp.partition in stored:
                self._check(tp, stored[tp.partition], described, begins[tp], ends[tp])
        async with self._transaction() as tx:
            begin_of = {tp.partition: begins[tp] for tp in assigned}
            await offsets.place(tx.connection, self._reader, self._topic, described.id, begin_of)
        for tp in assigned:
            before = stored.get(tp.partition)
            if before and _was_to_be_read(before) and before.next_offset < begins[tp]:
                await self._lose(Loss(tp.partition, before.next_offset, begins[tp], "expired"))
        self.described = described
        return {
            tp: max(begins[tp], stored[tp.partition].next_offset if tp.partition in stored else 0) for tp in assigned
        }

    def _check(self, tp: TopicPartition, stored: Stored, described: TopicDescription, begin: int, end: int) -> None:
        if stored.topic_id not in (None, described.id):
            raise MisfitError(
                f"halted: {self._topic} is another topic than the one that was read up to now: it was deleted and "
                "recreated. Restore it; or run `positions --restart` with the topic's name to read the new one from "
                "its beginning, and reading resumes automatically"
            )
        if stored.next_offset > end:
            raise MisfitError(
                f"halted: the stored offset {stored.next_offset} of {self._topic}/{tp.partition} lies beyond the "
                f"topic's end {end} (it begins at {begin}), so the topic was recreated or lost records. Restore it; "
                "or run `positions --restart` with the topic's name to read it from its beginning, and reading "
                "resumes automatically"
            )

    def of(self, topic: str) -> "Positions":
        """The positions of the same reader in another topic."""
        return Positions(
            self._pool, self._transaction, self._cluster, reader=self._reader, topic=topic, on_lost=self._on_lost
        )

    async def restart(self) -> None:
        """Set the reader back to the topic's beginning.

        Records read again are applied once, as after a redelivery.
        """
        async with self._transaction() as tx:
            await offsets.restart(tx.connection, self._reader, self._topic)

    async def skip(self, partition: int, to: int) -> int:
        """Skip to the offset ``to`` and record the loss.

        Returns how many records are lost at most.

        Raises:
            ValueError: the reader is at or beyond ``to``; the message says where it is.
        """
        stored = (await offsets.load(self._pool, self._reader, self._topic)).get(partition)
        if stored is None or to <= stored:
            raise ValueError(f"{self._topic}/{partition} is at offset {stored}: there is nothing to skip up to {to}")
        loss = Loss(partition, stored, to, "skipped")
        await self._lose(loss)
        return loss.records

    async def show(self) -> str:
        """Text for a person: the next offset of each partition, and what was lost."""
        stored = await offsets.load_stored(self._pool, self._reader, self._topic)
        lines = [
            f"{self._topic}/{partition}: next offset {one.next_offset}" for partition, one in sorted(stored.items())
        ]
        return "\n".join([*lines, *filter(None, [await self.lost()])])

    async def _lose(self, loss: Loss) -> None:
        async with self._transaction() as tx:
            if not await offsets.lose(tx.connection, self._reader, self._topic, loss):
                return
            if self._on_lost:
                await self._on_lost(tx, self._topic, loss)
        self._log.error("records_lost", **loss._asdict(), records=loss.records)

    async def pass_over(self, reached: Mapping[int, tuple[int, int]]) -> dict[int, int]:
        """Move stored offsets over gaps without records, such as markers of transactions.

        ``reached``: by partition, the stored offset and the one to move it to. Returns the new offsets, without
        those that another process has moved since, which are left as they are.
        """
        moved: dict[int, int] = {}
        async with self._transaction() as tx:
            for partition, (stored, to) in sorted(reached.items()):
                if await offsets.skip(tx.connection, self._reader, self._topic, partition, stored=stored, to=to):
                    moved[partition] = to
        return moved

    async def set_aside(self) -> SetAsideState:
        """Measure what is set aside."""
        return await set_aside.measure(self._pool, self._reader, self._topic)

    async def lost(self) -> str:
        """Say how many records were lost, as text for a person; update the metric.

        The text is empty if none were.
        """
        lost = await offsets.lost(self._pool, self._reader, self._topic)
        for reason, (records, _) in lost.items():
            metrics.RECORDS_LOST.labels(topic=self._topic, reason=reason).inc(records - self._counted[reason])
            self._counted[reason] = records
        if not lost:
            return ""
        total, last = sum(records for records, _ in lost.values()), max(at for _, at in lost.values())
        return f"{total} records were lost, the last noticed at {last:%Y-%m-%d %H:%M}Z"


def _was_to_be_read(stored: Stored) -> bool:
    """Return whether records before the topic's beginning count as lost.

    They do not after ``offsets.set_back``.
    """
    return stored.next_offset > 0 or stored.topic_id is not None
