"""How far a consumer is behind, measured by ourselves: a broker that answers knows nothing of a stuck consumer."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from shared.runtime.delivery import Record


@dataclass(frozen=True, slots=True)
class ConsumerState:
    """For health and metrics. ``fault`` is a sentence when the consumer does not do its work."""

    topic: str
    fault: str | None
    halted: bool
    lag_records: int
    lag_seconds: float

    def beside(self, other: "ConsumerState") -> "ConsumerState":
        """Two consumers of one topic as one."""
        return ConsumerState(
            self.topic,
            self.fault or other.fault,
            self.halted or other.halted,
            self.lag_records + other.lag_records,
            max(self.lag_seconds, other.lag_seconds),
        )


class Lag:
    """Since when the oldest record that is not applied has waited, by partition."""

    def __init__(self) -> None:
        self._since: dict[int, datetime] = {}

    def begin(self, records: Iterable[Record]) -> None:
        """These are being applied: their first ones are the oldest."""
        for partition, record in {record.partition: record for record in reversed(list(records))}.items():
            self._since[partition] = record.appended_at

    def end(self, records: Iterable[Record]) -> None:
        """These are applied: what follows was appended after the last of them."""
        self._since.update({record.partition: record.appended_at for record in records})

    def forget(self) -> None:
        """Other partitions are ours now."""
        self._since.clear()

    def measure(self, now: datetime, applied: Mapping[int, int], ends: Mapping[int, int]) -> tuple[int, float]:
        """Records not applied, and for how many seconds the oldest has waited (at most)."""
        records, longest = 0, 0.0
        for partition, next_offset in list(applied.items()):
            waiting = max(0, ends.get(partition, 0) - next_offset)
            if not waiting:
                self._since.pop(partition, None)
                continue
            since = self._since.setdefault(partition, now)
            records, longest = records + waiting, max(longest, (now - since).total_seconds())
        return records, longest
