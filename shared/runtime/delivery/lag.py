"""How far a consumer is behind: what Kafka says that there is, beside what the database says is applied."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from shared.runtime.records import Record


@dataclass(frozen=True, slots=True)
class PartitionState:
    """One partition: the next offset to apply, where it ends, and since when its oldest unapplied record has waited."""

    position: int
    end: int
    since: datetime | None

    @property
    def records(self) -> int:
        """Not applied yet."""
        return max(0, self.end - self.position)


@dataclass(frozen=True, slots=True)
class ConsumerState:
    """For health and metrics. ``fault`` is a sentence when the consumer does not do its work.

    ``shared``: what is at fault is away for every replica (Kafka), so that another could do no better.
    """

    topic: str
    fault: str | None
    halted: bool
    lag_records: int
    lag_seconds: float
    partitions: Mapping[int, PartitionState] = field(default_factory=dict)
    note: str = ""
    shared: bool = False

    def beside(self, other: "ConsumerState") -> "ConsumerState":
        """Two consumers of one topic as one."""
        return ConsumerState(
            self.topic,
            self.fault or other.fault,
            self.halted or other.halted,
            self.lag_records + other.lag_records,
            max(self.lag_seconds, other.lag_seconds),
            {**self.partitions, **other.partitions},
            self.note or other.note,
            self.shared if self.fault else other.shared,
        )


class Lag:
    """When the oldest record that is not applied was appended, by partition; or when it was noticed, at the latest."""

    def __init__(self) -> None:
        self._since: dict[int, datetime] = {}
        self._is_known: set[int] = set()
        """Partitions of which we have the very record, or know when it was appended."""

    def begin(self, records: Iterable[Record]) -> None:
        """These are being applied: their first ones are the oldest."""
        for partition, record in {record.partition: record for record in reversed(list(records))}.items():
            self.know(partition, record.appended_at)

    def end(self, records: Iterable[Record]) -> None:
        """These are applied: what follows, if anything, has not been seen yet."""
        for partition in {record.partition for record in records}:
            self._since.pop(partition, None)
            self._is_known.discard(partition)

    def know(self, partition: int, appended_at: datetime) -> None:
        """The oldest unapplied record of this partition was appended then."""
        self._since[partition] = appended_at
        self._is_known.add(partition)

    def forget(self) -> None:
        """Other partitions are ours now."""
        self._since.clear()
        self._is_known.clear()

    def unknown(self) -> list[int]:
        """Partitions that were behind when last measured, without our knowing since when."""
        return [partition for partition in self._since if partition not in self._is_known]

    def measure(self, now: datetime, nexts: Mapping[int, int], ends: Mapping[int, int]) -> dict[int, PartitionState]:
        """Each partition's state. What is not known to wait since earlier waits since it was first measured."""
        states: dict[int, PartitionState] = {}
        for partition, position in nexts.items():
            end = max(position, ends.get(partition, 0))
            if end == position:
                self._since.pop(partition, None)
                self._is_known.discard(partition)
            since = None if end == position else self._since.setdefault(partition, now)
            states[partition] = PartitionState(position, end, since)
        return states
