"""Kafka records: received ones, and ones to publish."""

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

MAX_VALUE_BYTES = 900_000
"""Largest value of an event, in bytes.

With key and headers it is below Kafka's default limit of 1 MiB.
"""

Headers = tuple[tuple[str, bytes | None], ...]


class Record(NamedTuple):
    """A received Kafka record.

    ``topic`` is without the installation's prefix; ``appended_at`` is the broker's time. A named tuple because a batch
    has thousands of them.
    """

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    appended_at: datetime

    def header(self, name: str) -> bytes | None:
        """The value of the last header of that name."""
        return next((value for key, value in reversed(self.headers) if key == name), None)


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A record to publish. ``topic`` is without the installation's prefix."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()

    @property
    def is_dead_letter(self) -> bool:
        """Whether its topic is a dead-letter topic, which has a larger limit."""
        return self.topic.endswith(".dlq")
