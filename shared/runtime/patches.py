"""Every use of private parts of other libraries, each checked at import.

If one is not as it was in the tried version, the process exits with a sentence that says what is missing and what it is
for, instead of failing in the middle of a batch.
"""

import inspect
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from itertools import islice
from pydoc import locate
from typing import Any

from aiokafka import TopicPartition
from aiokafka.consumer import fetcher
from faststream.kafka import KafkaBroker

from shared.runtime.records import Record


@dataclass(frozen=True, slots=True)
class Need:
    """A private part of a library that is required.

    ``parameters``: a function's first parameters; ``None``: it is no function.
    """

    library: str
    name: str
    purpose: str
    parameters: tuple[str, ...] | None = None

    def fault(self) -> str | None:
        """A sentence, if the part is missing or has other parameters."""
        found = locate(self.name)
        if found is not None and self.parameters is not None:
            given = tuple(inspect.signature(found).parameters) if callable(found) else ()
            found = found if given[: len(self.parameters)] == self.parameters else None
        if found is not None:
            return None
        called = "" if self.parameters is None else f"({', '.join(self.parameters)})"
        return (
            f"{self.library} {version(self.library)} cannot be used: {self.name}{called} is not there. It is needed "
            f"{self.purpose}. Install the versions that requirements/ names."
        )


_FETCH = "aiokafka.consumer.fetcher"
_RECORDS = "to make our records straight from what Kafka sent, and to pause a partition that cannot be read"
_NAMES = "to read records whose header names are not UTF-8"
_BATCHES = "to apply several batches of a topic at the same time, and to wait for them"
_BOUNDS = "to bound what a connection may send, and how long it may take"
_HTTP = "uvicorn.protocols.http.httptools_impl.HttpToolsProtocol"
_ARGUMENTS = ("self", "tp", "records", "aborted_transactions", "fetch_offset", "key_deserializer")
NEEDS = (
    Need("aiokafka", f"{_FETCH}.PartitionRecords.__init__", _RECORDS, _ARGUMENTS),
    Need("aiokafka", f"{_FETCH}.PartitionRecords._unpack_records", _RECORDS, ("self",)),
    Need("aiokafka", f"{_FETCH}.PartitionRecords._consumer_record", _RECORDS, ("self", "tp", "record")),
    Need("aiokafka", f"{_FETCH}.FetchResult", _RECORDS),
    Need("aiokafka", f"{_FETCH}.MemoryRecords", _NAMES),
    Need("aiokafka", "aiokafka.record.memory_records._MemoryRecordsPy.next_batch", _NAMES, ("self",)),
    Need("aiokafka", "aiokafka.record.default_records._DefaultRecordBatchPy._maybe_uncompress", _NAMES, ("self",)),
    Need(
        "faststream",
        "faststream.kafka.subscriber.usecase.LogicSubscriber._run_consume_loop",
        _BATCHES,
        ("self", "consumer"),
    ),
    Need(
        "faststream",
        "faststream.kafka.subscriber.usecase.LogicSubscriber.add_task",
        _BATCHES,
        ("self", "func", "func_args"),
    ),
    Need(
        "faststream",
        "faststream._internal.endpoint.subscriber.utils.MultiLock.wait_release",
        _BATCHES,
        ("self", "timeout"),
    ),
    *(
        Need("uvicorn", f"{_HTTP}.{name}", _BOUNDS, ("self", *parameters))
        for name, parameters in {
            "on_message_begin": (),
            "on_url": ("url",),
            "on_header": ("name", "value"),
            "on_headers_complete": (),
            "on_body": ("body",),
            "on_message_complete": (),
            "on_response_complete": (),
            "send_400_response": ("msg",),
        }.items()
    ),
)


def find_fault(needs: Iterable[Need] = NEEDS) -> str | None:
    """A sentence on the first missing part; ``None``: all are there."""
    return next((fault for need in needs if (fault := need.fault())), None)


if _fault := find_fault():
    sys.exit(_fault)

from aiokafka.consumer.fetcher import PartitionRecords as _PartitionRecords  # noqa: E402 - not before it is checked
from aiokafka.record.default_records import DefaultRecord, _DefaultRecordBatchPy  # noqa: E402
from aiokafka.record.memory_records import _MemoryRecordsPy  # noqa: E402

# ---- aiokafka: our own records ---------------------------------------------------------------------------------------

OnUnreadable = Callable[[TopicPartition, int, Exception], None]
_LOG_APPEND_TIME = 1


class RecordDeserializer:
    """A ``key_deserializer`` that makes a consumer return ``Record`` values.

    Keys are unchanged.

    ``prefix``: removed from topic names. ``decoded``: how many records were made. ``on_unreadable``: called with
    partition, offset and error of a record that cannot be read; raising would lose what the same poll has taken from
    other partitions.
    """

    __slots__ = ("decoded", "on_unreadable", "prefix")

    def __init__(self, prefix: str, on_unreadable: OnUnreadable) -> None:
        self.prefix = prefix
        self.on_unreadable = on_unreadable
        self.decoded = 0

    def __call__(self, key: bytes | None) -> bytes | None:
        """Return the key unchanged."""
        return key


def install_record_deserializer() -> None:
    """Make the consumers of this process honour a ``RecordDeserializer``. Idempotent.

    aiokafka would first make its own record of each, with sizes and checksums that are not used, at two fifths of the
    cost of fetching usage. It can be removed when the client lets its users choose the type of records.
    """
    escape_header_names()
    fetcher.PartitionRecords = _partition_records


def _partition_records(tp: TopicPartition, records: Any, aborted: Any, offset: int, asked: Any, *rest: Any) -> Any:
    kind = _OurPartitionRecords if isinstance(asked, RecordDeserializer) else _PartitionRecords
    return kind(tp, records, aborted, offset, asked, *rest)


class _OurPartitionRecords(_PartitionRecords):  # type: ignore[misc]
    """The fetched records of one partition, as ``Record`` values."""

    def __init__(
        self, tp: TopicPartition, records: Any, aborted: Any, offset: int, asked: RecordDeserializer, *rest: Any
    ):
        super().__init__(tp, records, aborted, offset, None, *rest)
        self._asked = asked
        self._place = tp.topic.removeprefix(asked.prefix), tp.partition
        self._milliseconds, self._appended_at = 0, instant(0)

    def __iter__(self) -> Iterator[Record]:
        """The records themselves: one call less for each."""
        found: Iterator[Record] = self._records_iterator
        return found

    def _unpack_records(self) -> Iterator[Record]:
        """Yield records up to an unreadable one, at which the position stays."""
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
"""Makes a ``Record`` of a tuple, faster than calling the class."""


def instant(milliseconds: int) -> datetime:
    """Return the time of a Kafka timestamp.

    It is now if the timestamp is out of range, as in a damaged batch.
    """
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC)
    except (OverflowError, ValueError, OSError):
        return datetime.now(UTC)


# ---- aiokafka: header names ------------------------------------------------------------------------------------------

_MAGIC_AT, _MAGIC_WITH_HEADERS = 16, 2


def escape_header_names() -> None:
    """Make the consumers of this process accept any header names.

    Those that are not UTF-8 are escaped. Idempotent.

    Kafka takes such a record from any client, and aiokafka then fails to decode the whole fetch, again and again. Here
    that one batch is read a second time with the name's bytes escaped; everything else takes the fast path. It ends
    when the client decodes names without failing.
    """
    fetcher.MemoryRecords = _Records


class _Records(_MemoryRecordsPy):  # type: ignore[misc]
    """The fetched batches of one partition."""

    def next_batch(self) -> Any:
        piece = self._next_slice
        batch = super().next_batch()
        if piece is None or piece[_MAGIC_AT] < _MAGIC_WITH_HEADERS:
            return batch
        return _Batch(batch, piece)


class _Batch:
    """Reads the fast batch, and from the record at which it fails the slow one."""

    def __init__(self, fast: Any, piece: memoryview) -> None:
        self._fast = fast
        self._piece = piece

    def __getattr__(self, name: str) -> Any:
        return getattr(self._fast, name)

    def __next__(self) -> Any:
        """The client reads the marker that ends a transaction without iterating."""
        return next(self._fast)

    def __iter__(self) -> Iterator[DefaultRecord]:
        done = 0
        try:
            for record in self._fast:
                yield record
                done += 1
        except UnicodeDecodeError:
            slow = _DefaultRecordBatchPy(self._piece)
            slow._maybe_uncompress()
            slow._buffer = _Escaping(slow._buffer)
            slow._decompressed = True
            yield from islice(slow, done, None)


class _Escaping(bytearray):
    """Bytes whose slices decode with escapes.

    The slow reader decodes only header names.
    """

    def __getitem__(self, place: Any) -> Any:
        found = super().__getitem__(place)
        return _Escaping(found) if isinstance(found, bytearray) else found

    def decode(self, encoding: str = "utf-8", errors: str = "backslashreplace") -> str:  # noqa: ARG002
        return super().decode(encoding, "backslashreplace")


# ---- FastStream ------------------------------------------------------------------------------------------------------


def use_consumers(broker: KafkaBroker, kind: Callable[..., Any], **arguments: Any) -> None:
    """Make a connected broker create consumers of this class.

    It can be removed when a broker can be given the class.
    """
    config: Any = broker.config.broker_config
    theirs: dict[str, Any] = config.builder.keywords
    config.builder = partial(kind, **arguments, **theirs)


def add_reader(subscriber: Any) -> None:
    """Add a task that takes batches from a subscriber's consumer.

    FastStream's own way of several (``max_workers``) acknowledges them in no order.
    """
    subscriber.add_task(subscriber._run_consume_loop, (subscriber.consumer,))


async def wait_for_batches(subscriber: Any, seconds: float) -> None:
    """Wait at most ``seconds`` until no batch of the subscriber is being handled."""
    await subscriber.lock.wait_release(seconds)
