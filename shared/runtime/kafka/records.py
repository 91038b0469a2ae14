"""Records as our handlers are given them, made straight from what Kafka sent.

aiokafka would make a record of its own of each first, with sizes and checksums that nobody reads: two fifths of what
fetching usage cost. A consumer asks for ours by its ``key_deserializer``; all others of the
process get aiokafka's.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Any

from aiokafka import TopicPartition
from aiokafka.consumer import fetcher
from aiokafka.consumer.fetcher import PartitionRecords as _PartitionRecords

from shared.runtime.kafka.patches import forgive_header_names
from shared.runtime.records import Record

OnUnreadable = Callable[[TopicPartition, int, Exception], None]
_LOG_APPEND_TIME = 1


class OurRecords:
    """Asks for our records, of topics whose names begin with ``prefix``; keys stay as they are.

    ``decoded`` counts the records made so far. ``on_unreadable`` is called with the partition, the offset and the error
    where what Kafka sent cannot be read: nothing is raised, because what the same poll has taken from other partitions
    would be lost with the exception.
    """

    __slots__ = ("decoded", "on_unreadable", "prefix")

    def __init__(self, prefix: str, on_unreadable: OnUnreadable) -> None:
        self.prefix = prefix
        self.on_unreadable = on_unreadable
        self.decoded = 0

    def __call__(self, key: bytes | None) -> bytes | None:
        """The key."""
        return key


def receive_our_records() -> None:
    """Have consumers of this process that ask for our records get them. Harmless to repeat."""
    forgive_header_names()
    fetcher.PartitionRecords = _partition_records


def _partition_records(tp: TopicPartition, records: Any, aborted: Any, offset: int, asked: Any, *rest: Any) -> Any:
    kind = _Ours if isinstance(asked, OurRecords) else _PartitionRecords
    return kind(tp, records, aborted, offset, asked, *rest)


class _Ours(_PartitionRecords):  # type: ignore[misc]
    """What a fetch brought for one partition."""

    def __init__(self, tp: TopicPartition, records: Any, aborted: Any, offset: int, asked: OurRecords, *rest: Any):
        super().__init__(tp, records, aborted, offset, None, *rest)
        self._asked = asked
        self._place = tp.topic.removeprefix(asked.prefix), tp.partition
        self._milliseconds, self._appended_at = 0, instant(0)

    def _unpack_records(self) -> Iterator[Record]:
        """Ends where something cannot be read: the position then stays there."""
        try:
            yield from super()._unpack_records()
        except Exception as error:
            self._asked.on_unreadable(self._tp, self.next_fetch_offset, error)

    def _consumer_record(self, tp: TopicPartition, record: Any) -> Record:  # noqa: ARG002
        if record.timestamp_type != _LOG_APPEND_TIME:  # the producer's claim, on a topic that was set up wrongly
            self._milliseconds, self._appended_at = 0, datetime.now(UTC)
        elif record.timestamp != self._milliseconds:  # the broker appends many records at one instant
            self._milliseconds = record.timestamp
            self._appended_at = instant(record.timestamp)
        headers = tuple(record.headers)
        made = _record((*self._place, record.offset, record.key, record.value, headers, self._appended_at))
        self._asked.decoded += 1
        return made


_record: Callable[[tuple[Any, ...]], Record] = partial(tuple.__new__, Record)
"""Faster than calling the class."""


def instant(milliseconds: int) -> datetime:
    """A Kafka timestamp. The broker's own are sane; in a damaged batch they may be anything."""
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC)
    except (OverflowError, ValueError, OSError):
        return datetime.now(UTC)
