"""Lag: records in Kafka that are not applied, and the age of the oldest."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from shared.runtime.records import Record


@dataclass(frozen=True, slots=True)
class PartitionState:
    """The next offset to apply, the end, and the age of the lag.

    ``since``: when the oldest unapplied record was appended.
    """

    position: int
    end: int
    since: datetime | None

    @property
    def records(self) -> int:
        """How many records are not applied."""
        return max(0, self.end - self.position)


@dataclass(frozen=True, slots=True)
class ConsumerState:
    """A consumer's lag and faults, for health and metrics.

    ``fault``: a sentence, if it does not work.
    ``shared``: every replica has this fault (Kafka is away).
    """

    topic: str
    fault: str | None
    halted: bool
    lag_records: int
    lag_seconds: float
    partitions: Mapping[int, PartitionState] = field(default_factory=dict)
    note: str = ""
    shared: bool = False

    def merged_with(self, other: "ConsumerState") -> "ConsumerState":
        """The state of two consumers of one topic together."""
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
    """The append time of the oldest unapplied record of each partition.

    If it is unknown, the time at which the record was first noticed.
    """

    def __init__(self) -> None:
        self._since: dict[int, datetime] = {}
        self._is_known: set[int] = set()
        """Partitions whose oldest unapplied record has a known append time."""

    def begin(self, records: Iterable[Record]) -> None:
        """Note records that are being applied: the first of each partition is its oldest."""
        for partition, record in {record.partition: record for record in reversed(list(records))}.items():
            self.set_appended(partition, record.appended_at)

    def end(self, records: Iterable[Record]) -> None:
        """Note that records are applied: the next record of their partitions is unknown."""
        for partition in {record.partition for record in records}:
            self._since.pop(partition, None)
            self._is_known.discard(partition)

    def set_appended(self, partition: int, appended_at: datetime) -> None:
        """Set when the oldest unapplied record of a partition was appended."""
        self._since[partition] = appended_at
        self._is_known.add(partition)

    def clear(self) -> None:
        """Drop everything, when other partitions are assigned."""
        self._since.clear()
        self._is_known.clear()

    def unknown(self) -> list[int]:
        """List partitions whose oldest unapplied record has no known append time.

        These are partitions that were behind at the last measurement.
        """
        return [partition for partition in self._since if partition not in self._is_known]

    def measure(self, now: datetime, nexts: Mapping[int, int], ends: Mapping[int, int]) -> dict[int, PartitionState]:
        """Return the state of each partition.

        Without a known append time, a record counts from when it was first noticed.
        """
        states: dict[int, PartitionState] = {}
        for partition, position in nexts.items():
            end = max(position, ends.get(partition, 0))
            if end == position:
                self._since.pop(partition, None)
                self._is_known.discard(partition)
            since = None if end == position else self._since.setdefault(partition, now)
            states[partition] = PartitionState(position, end, since)
        return states
