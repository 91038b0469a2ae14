"""Records of Kafka: as they are received, and as they are to be published."""

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

MAX_VALUE_BYTES = 900_000
"""The largest event; with key and headers it stays below Kafka's usual limit of 1 MiB."""

Headers = tuple[tuple[str, bytes | None], ...]


class Record(NamedTuple):
    """One Kafka record, as received.

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
    """One record to publish. ``topic`` is without the installation's prefix."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()

    @property
    def is_dead_letter(self) -> bool:
        """Whether it goes to a topic that takes whatever was received."""
        return self.topic.endswith(".dlq")
