"""Where reading goes on: the stored offsets, held against the topic that Kafka has now."""

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
"""Called with the topic, in the transaction that notes the loss."""
NewTransaction: TypeAlias = Callable[[], "AbstractAsyncContextManager[Transaction]"]


class MisfitError(Exception):
    """The stored offsets do not belong to the topic as it is. The message is a sentence that says what to do."""


class Positions:
    """One reader's places in one topic."""

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
        """``counted``: how many lost records the metric has counted, by reason, for all readers of a process."""
        self._counted: Counter[str] = Counter() if counted is None else counted
        self._pool = pool
        self._transaction = transaction
        self._cluster = cluster
        self._reader = reader
        self._topic = topic
        self._on_lost = on_lost
        self._log = logging.get(reader).bind(topic=topic)
        self.described: TopicDescription | None = None
        """The topic as it was when reading went on."""

    async def find(self, consumer: BatchConsumer, assigned: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """The next offset to read of each of these partitions; records that expired before they were read are noted.

        Raises:
            MisfitError: the topic is another one than that whose offsets are stored, or ends before them.
        """
        described = (await self._cluster.describe([self._topic])).get(self._topic)
        if described is None:
            raise MisfitError(f"halted: there is no topic {self._topic}; create it, and reading goes on by itself")
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
                "created anew. Restore it; or run `positions --restart` with the topic's name to read the new one from "
                "its beginning, and reading goes on by itself"
            )
        if stored.next_offset > end:
            raise MisfitError(
                f"halted: the stored offset {stored.next_offset} of {self._topic}/{tp.partition} lies beyond the "
                f"topic's end {end} (it begins at {begin}), so the topic was created anew or lost records. Restore it; "
                "or run `positions --restart` with the topic's name to read it from its beginning, and reading goes on "
                "by itself"
            )

    def of(self, topic: str) -> "Positions":
        """The same reader's, in another topic."""
        return Positions(
            self._pool, self._transaction, self._cluster, reader=self._reader, topic=topic, on_lost=self._on_lost
        )

    async def restart(self) -> None:
        """Begin at the topic's beginning. What is read again is applied once, as after any redelivery."""
        async with self._transaction() as tx:
            await offsets.restart(tx.connection, self._reader, self._topic)

    async def skip(self, partition: int, to: int) -> int:
        """Step over what cannot be read, up to the offset ``to``; how many records are lost by it, at most.

        Raises:
            ValueError: there is nothing to step over; the message says where the reader is.
        """
        stored = (await offsets.load(self._pool, self._reader, self._topic)).get(partition)
        if stored is None or to <= stored:
            raise ValueError(f"{self._topic}/{partition} is at offset {stored}: there is nothing to skip up to {to}")
        loss = Loss(partition, stored, to, "skipped")
        await self._lose(loss)
        return loss.records

    async def show(self) -> str:
        """Every partition's next offset, and what was lost, for a person."""
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
        """Store, by partition, a second offset instead of a first: there is nothing to apply between them.

        Markers of transactions have offsets of their own. Those that were moved, where nobody else did meanwhile.
        """
        moved: dict[int, int] = {}
        async with self._transaction() as tx:
            for partition, (stored, to) in sorted(reached.items()):
                if await offsets.skip(tx.connection, self._reader, self._topic, partition, stored=stored, to=to):
                    moved[partition] = to
        return moved

    async def set_aside(self) -> SetAsideState:
        """What waits outside of the order of offsets."""
        return await set_aside.measure(self._pool, self._reader, self._topic)

    async def lost(self) -> str:
        """What was lost, for a person; empty where nothing was. The metric follows, whichever process has noted it."""
        lost = await offsets.lost(self._pool, self._reader, self._topic)
        for reason, (records, _) in lost.items():
            metrics.RECORDS_LOST.labels(topic=self._topic, reason=reason).inc(records - self._counted[reason])
            self._counted[reason] = records
        if not lost:
            return ""
        total, last = sum(records for records, _ in lost.values()), max(at for _, at in lost.values())
        return f"{total} records were lost, the last noticed at {last:%Y-%m-%d %H:%M}Z"


def _was_to_be_read(stored: Stored) -> bool:
    """Not where reading is to begin again: from wherever the topic begins by now (``offsets.set_back``)."""
    return stored.next_offset > 0 or stored.topic_id is not None
