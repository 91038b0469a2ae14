"""Records as our handlers are given them, made straight from what Kafka sent.

aiokafka would make a record of its own of each first, with sizes and checksums that nobody reads: two fifths of what
fetching usage cost. A consumer asks for ours by its ``key_deserializer``; all others of the
process get aiokafka's.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from aiokafka import TopicPartition
from aiokafka.consumer import fetcher
from aiokafka.consumer.fetcher import PartitionRecords as _PartitionRecords

from shared.runtime.delivery import Record
from shared.runtime.forgiving import forgive_header_names


@dataclass(frozen=True, slots=True)
class WithoutPrefix:
    """Asks for our records, of topics whose names begin with ``prefix``; keys stay as they are."""

    prefix: str

    def __call__(self, key: bytes | None) -> bytes | None:
        """The key."""
        return key


def receive_our_records() -> None:
    """Have consumers of this process that ask for our records get them. Harmless to repeat."""
    forgive_header_names()
    fetcher.PartitionRecords = _partition_records


def _partition_records(tp: TopicPartition, records: Any, aborted: Any, offset: int, asked: Any, *rest: Any) -> Any:
    kind = _Ours if isinstance(asked, WithoutPrefix) else _PartitionRecords
    return kind(tp, records, aborted, offset, asked, *rest)


class _Ours(_PartitionRecords):  # type: ignore[misc]
    """What a fetch brought for one partition."""

    def __init__(self, tp: TopicPartition, records: Any, aborted: Any, offset: int, asked: WithoutPrefix, *rest: Any):
        super().__init__(tp, records, aborted, offset, None, *rest)
        self._place = tp.topic.removeprefix(asked.prefix), tp.partition
        self._milliseconds, self._appended_at = 0, instant(0)

    def _consumer_record(self, tp: TopicPartition, record: Any) -> Record:  # noqa: ARG002
        if record.timestamp != self._milliseconds:  # the broker appends many records at one instant
            self._milliseconds = record.timestamp
            self._appended_at = instant(record.timestamp)
        headers = tuple(record.headers)
        return _record((*self._place, record.offset, record.key, record.value, headers, self._appended_at))


_record: Callable[[tuple[Any, ...]], Record] = partial(tuple.__new__, Record)
"""Faster than calling the class."""


def instant(milliseconds: int) -> datetime:
    """A Kafka timestamp. The broker's own are sane; on a topic that takes the producer's they may be anything."""
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC)
    except (OverflowError, ValueError, OSError):
        return datetime.now(UTC)
