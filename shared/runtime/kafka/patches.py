"""A header name that is not UTF-8 must not stop a topic.

Kafka takes such a record from any client, and aiokafka 0.14 then fails to decode the whole fetch, again and again. Here
that one batch of records is read a second time with the name's bytes escaped; everything else takes the fast path.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.record.default_records import DefaultRecord, _DefaultRecordBatchPy
from aiokafka.record.memory_records import _MemoryRecordsPy

_MAGIC_AT, _MAGIC_WITH_HEADERS = 16, 2


def forgive_header_names() -> None:
    """Have every consumer of this process read so. Harmless to repeat."""
    fetcher.MemoryRecords = _Records


class _Records(_MemoryRecordsPy):  # type: ignore[misc]
    """What a fetch brought for one partition, batch by batch."""

    def next_batch(self) -> Any:
        piece = self._next_slice
        batch = super().next_batch()
        if piece is None or piece[_MAGIC_AT] < _MAGIC_WITH_HEADERS:
            return batch
        return _Batch(batch, piece)


class _Batch:
    """The fast batch, and where it fails the slow one."""

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
    """Bytes whose slices become text whatever they hold: the slow reader decodes nothing but header names."""

    def __getitem__(self, place: Any) -> Any:
        found = super().__getitem__(place)
        return _Escaping(found) if isinstance(found, bytearray) else found

    def decode(self, encoding: str = "utf-8", errors: str = "backslashreplace") -> str:  # noqa: ARG002
        return super().decode(encoding, "backslashreplace")
