"""The progress of one reader of one topic: its lag, and whether it stalls."""

import time
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime

from aiokafka import TopicPartition

from shared.runtime.delivery.lag import Lag, PartitionState
from shared.runtime.delivery.positions import Positions
from shared.runtime.kafka.batch_source import BatchConsumer
from shared.runtime.kafka.cluster import Cluster, TopicDescription

STALL_SECONDS = 15.0
"""Time without progress in any partition after which waiting records are a fault."""
NEGLECT_SECONDS = 120.0
"""The same for one partition, while others progress."""
SETTLED_SECONDS = 1.5
"""Time without progress after which Kafka is asked for an append time.

It is that of the partition's next record: since when it waits.
"""


class Progress:
    """The applied offsets of one topic, compared with its partitions' ends.

    ``applied`` is shared with the batch runners.
    """

    def __init__(self, topic: str, applied: dict[int, int], positions: Positions, cluster: Cluster) -> None:
        self._topic = topic
        self._applied = applied
        self._positions = positions
        self._cluster = cluster
        self.lag = Lag()
        self._ends: dict[int, int] = {}
        self._passed: dict[int, int] = {}
        """By partition, the offset below which nothing is left to apply.

        It is held only if it is beyond the applied offset.
        """
        self._unmoved: dict[int, tuple[int, float]] = {}
        """By partition that is behind: its position, and since when it has not changed."""
        self._moved_at = time.monotonic()

    def clear(self) -> None:
        """Drop everything, when other partitions are assigned."""
        for known in (self._ends, self._passed, self._unmoved):
            known.clear()
        self.lag.clear()

    def begin_at(self, partition: int, offset: int) -> None:
        """Note that reading begins at ``offset``."""
        self._applied[partition] = offset
        self._passed.pop(partition, None)

    def states(self, now: datetime, consumer: BatchConsumer | None) -> dict[int, PartitionState]:
        """Position, end and age of the oldest unapplied record of each partition."""
        return self.lag.measure(now, self._nexts(), self._known_ends(consumer))

    def stalled(self) -> list[int]:
        """Partitions that have records and do not progress."""
        now = time.monotonic()
        bound = STALL_SECONDS if now - self._moved_at > STALL_SECONDS else NEGLECT_SECONDS
        return sorted(partition for partition, (_, since) in self._unmoved.items() if now - since > bound)

    async def observe(
        self, now: datetime, consumer: BatchConsumer, described: TopicDescription, ends: Mapping[int, int]
    ) -> None:
        """Update the ends of the partitions, the stalls and the lag.

        Raises:
            KafkaError, or one of ``DATABASE_ERRORS``.
        """
        known = self._positions.described
        ours = consumer.assignment()
        new = set(described.leaders) - set(known.leaders if known else ())
        self._ends = {
            partition: end for partition, end in ends.items() if partition in new | {tp.partition for tp in ours}
        }
        await self._pass_over(consumer, ours)
        self._note_stalls(consumer)
        self.states(now, consumer)
        await self._find_when_appended(described)

    async def _pass_over(self, consumer: BatchConsumer, ours: Iterable[TopicPartition]) -> None:
        """Store offsets that the client reached without records to apply.

        Up to there Kafka has only other entries, such as markers of transactions.
        """
        passed: dict[int, tuple[int, int]] = {}
        for tp in ours:
            applied = self._applied.get(tp.partition)
            reached = await consumer.read_to(tp)
            if applied is not None and reached is not None and reached > applied == self._applied.get(tp.partition):
                passed[tp.partition] = (applied, reached)
        self._passed.update({partition: to for partition, (_, to) in passed.items()})
        if passed:
            self._applied.update(await self._positions.pass_over(passed))

    def _note_stalls(self, consumer: BatchConsumer) -> None:
        """Note which partitions do not progress.

        One whose batch is being applied does progress, however long it takes.
        """
        now, nexts, in_hand = time.monotonic(), self._nexts(), consumer.in_hand()
        if in_hand:
            self._moved_at = now
        for partition, position in nexts.items():
            if position >= self._ends.get(partition, 0) or partition in in_hand:
                self._unmoved.pop(partition, None)
                continue
            before = self._unmoved.get(partition)
            if before is None or before[0] != position:
                self._unmoved[partition] = (position, now)
                self._moved_at = now if before else self._moved_at

    async def _find_when_appended(self, described: TopicDescription) -> None:
        """Ask Kafka when the oldest unapplied record was appended.

        It is asked for partitions that do not progress.
        """
        nexts, now = self._nexts(), time.monotonic()
        for partition in self.lag.unknown():
            position, since = self._unmoved.get(partition, (-1, now))
            leader = described.leaders.get(partition)
            if leader is None or nexts.get(partition) != position or now - since < SETTLED_SECONDS:
                continue
            at = await self._cluster.find_append_time(self._topic, partition, leader, position)
            if at is not None and self._nexts().get(partition) == position:
                self.lag.set_appended(partition, at)

    def _nexts(self) -> dict[int, int]:
        """Return the next offset to apply in each partition.

        Partitions that were added and have no reader yet begin at 0.
        """
        nexts = {partition: max(offset, self._passed.get(partition, 0)) for partition, offset in self._applied.items()}
        known: Collection[int] = self._positions.described.leaders if self._positions.described else self._ends
        return nexts | dict.fromkeys((partition for partition in self._ends if partition not in known), 0)

    def _known_ends(self, consumer: BatchConsumer | None) -> dict[int, int]:
        """Return the end of each partition.

        It is from the last query or the last fetch, whichever is further.
        """
        if consumer is None:
            return self._ends
        fetched = {tp.partition: consumer.last_stable_offset(tp) or 0 for tp in consumer.assignment()}
        return {
            partition: max(end, self._ends.get(partition, 0)) for partition, end in {**self._ends, **fetched}.items()
        }
