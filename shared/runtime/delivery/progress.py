"""How far one reader of one topic has come: its lag, and whether it stands still, held against what Kafka says."""

import time
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime

from aiokafka import TopicPartition

from shared.runtime.delivery.lag import Lag, PartitionState
from shared.runtime.delivery.positions import Positions
from shared.runtime.kafka.batch_source import BatchConsumer
from shared.runtime.kafka.cluster import Cluster, TopicDescription

STALL_SECONDS = 15.0
"""Records that nobody takes for this long, while none of any partition are taken, are a fault."""
NEGLECT_SECONDS = 120.0
"""So are those of one partition, while others are taken."""
SETTLED_SECONDS = 1.5
"""A partition that has not moved for this long is asked about; one that moves tells of itself."""


class Progress:
    """``applied`` is shared with those who apply: the next offset by partition."""

    def __init__(self, topic: str, applied: dict[int, int], positions: Positions, cluster: Cluster) -> None:
        self._topic = topic
        self._applied = applied
        self._positions = positions
        self._cluster = cluster
        self.lag = Lag()
        self._ends: dict[int, int] = {}
        self._passed: dict[int, int] = {}
        """Before which offset everything is read and applied, where it lies beyond what was applied."""
        self._stands: dict[int, tuple[int, float]] = {}
        """Partitions that are behind: their position as last seen, and since when it has been that."""
        self._moved_at = time.monotonic()

    def forget(self) -> None:
        """Other partitions are ours now."""
        for known in (self._ends, self._passed, self._stands):
            known.clear()
        self.lag.forget()

    def begin_at(self, partition: int, offset: int) -> None:
        """Reading goes on there."""
        self._applied[partition] = offset
        self._passed.pop(partition, None)

    def states(self, now: datetime, consumer: BatchConsumer | None) -> dict[int, PartitionState]:
        """Each partition's."""
        return self.lag.measure(now, self._nexts(), self._known_ends(consumer))

    def stalled(self) -> list[int]:
        """Partitions of which nothing is taken although they have records."""
        now = time.monotonic()
        bound = STALL_SECONDS if now - self._moved_at > STALL_SECONDS else NEGLECT_SECONDS
        return sorted(partition for partition, (_, since) in self._stands.items() if now - since > bound)

    async def observe(
        self, now: datetime, consumer: BatchConsumer, described: TopicDescription, ends: Mapping[int, int]
    ) -> None:
        """Take in where each partition ends now.

        Raises:
            KafkaError, or an error of the database.
        """
        known = self._positions.described
        ours = consumer.assignment()
        new = set(described.leaders) - set(known.leaders if known else ())
        self._ends = {
            partition: end for partition, end in ends.items() if partition in new | {tp.partition for tp in ours}
        }
        await self._pass_over(consumer, ours)
        self._look_for_stalls(consumer)
        self.states(now, consumer)
        await self._find_when_appended(described)

    async def _pass_over(self, consumer: BatchConsumer, ours: Iterable[TopicPartition]) -> None:
        """Store that there is nothing to apply up to where the client has read (markers of transactions, say)."""
        passed: dict[int, tuple[int, int]] = {}
        for tp in ours:
            applied = self._applied.get(tp.partition)
            reached = await consumer.read_to(tp)
            if applied is not None and reached is not None and reached > applied == self._applied.get(tp.partition):
                passed[tp.partition] = (applied, reached)
        self._passed.update({partition: to for partition, (_, to) in passed.items()})
        if passed:
            self._applied.update(await self._positions.pass_over(passed))

    def _look_for_stalls(self, consumer: BatchConsumer) -> None:
        """What is in hand is under way, however long it takes."""
        now, nexts, in_hand = time.monotonic(), self._nexts(), consumer.in_hand()
        if in_hand:
            self._moved_at = now
        for partition, position in nexts.items():
            if position >= self._ends.get(partition, 0) or partition in in_hand:
                self._stands.pop(partition, None)
                continue
            before = self._stands.get(partition)
            if before is None or before[0] != position:
                self._stands[partition] = (position, now)
                self._moved_at = now if before else self._moved_at

    async def _find_when_appended(self, described: TopicDescription) -> None:
        """Ask Kafka since when the oldest unapplied record waits, where nobody has seen it and it does not move."""
        nexts, now = self._nexts(), time.monotonic()
        for partition in self.lag.unknown():
            position, since = self._stands.get(partition, (-1, now))
            leader = described.leaders.get(partition)
            if leader is None or nexts.get(partition) != position or now - since < SETTLED_SECONDS:
                continue
            at = await self._cluster.find_append_time(self._topic, partition, leader, position)
            if at is not None and self._nexts().get(partition) == position:
                self.lag.know(partition, at)

    def _nexts(self) -> dict[int, int]:
        """The next offset to apply; partitions that were added and have no reader yet begin at 0."""
        nexts = {partition: max(offset, self._passed.get(partition, 0)) for partition, offset in self._applied.items()}
        known: Collection[int] = self._positions.described.leaders if self._positions.described else self._ends
        return nexts | dict.fromkeys((partition for partition in self._ends if partition not in known), 0)

    def _known_ends(self, consumer: BatchConsumer | None) -> dict[int, int]:
        """The end of each partition, as Kafka said when last asked, or as the last fetch said."""
        if consumer is None:
            return self._ends
        fetched = {tp.partition: consumer.last_stable_offset(tp) or 0 for tp in consumer.assignment()}
        return {
            partition: max(end, self._ends.get(partition, 0)) for partition, end in {**self._ends, **fetched}.items()
        }
