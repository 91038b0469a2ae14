"""Records made straight from what Kafka sent, for those consumers that ask for them."""

import struct
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.consumer import fetcher
from aiokafka.consumer.fetcher import READ_COMMITTED
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c

from shared.runtime.patches import RecordDeserializer, install_record_deserializer
from shared.runtime.records import Record

CRC_AT, CRC_OVER, ATTRIBUTES, LOG_APPEND_TIME = 17, 21, 21, 0x08
"""Places in a record batch (magic 2), and the bit that says that its time is the broker's."""
AT = 1_790_000_000_123
Sent = tuple[int, bytes | None, bytes | None, list[tuple[str, bytes]]]
SENT: Sequence[Sent] = [
    (AT, b"key", b"value", [("h", b"1"), ("h", b"2")]),
    (AT, None, b"", []),
    (AT + 1, b"", None, []),
    (-(2**60), b"k", b"v", []),
]


def nobody(tp: TopicPartition, offset: int, error: Exception) -> None:
    """Everything here can be read."""
    raise AssertionError(f"{tp} {offset}") from error


@pytest.fixture(autouse=True)
def _theirs_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetcher, "PartitionRecords", fetcher.PartitionRecords)
    monkeypatch.setattr(fetcher, "MemoryRecords", fetcher.MemoryRecords)
    install_record_deserializer()
    install_record_deserializer()


def appended(*sent: Sent, first: int = 0, by_broker: bool = True) -> bytearray:
    """A batch as the broker keeps it: with one time of its own, unless it takes the producer's."""
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, 0, 1 << 20)
    for offset, (timestamp, key, value, headers) in enumerate(sent):
        builder.append(offset, timestamp, key, value, headers)
    batch = bytearray(builder.build())
    struct.pack_into(">q", batch, 0, first)
    if by_broker:
        batch[ATTRIBUTES + 1] |= LOG_APPEND_TIME
        batch[CRC_AT:CRC_OVER] = struct.pack(">I", calc_crc32c(bytes(batch[CRC_OVER:])))
    return batch


def fetched(asked: Any, first: int = 0, *, by_broker: bool = True) -> Iterator[Any]:
    batches = [appended(one, first=offset, by_broker=by_broker) for offset, one in enumerate(SENT)]
    return read(asked, b"".join(batches), first)


def read(asked: Any, wire: bytes, first: int = 0) -> Iterator[Any]:
    memory = fetcher.MemoryRecords(wire)
    tp = TopicPartition("here.usage.events", 3)
    return iter(fetcher.PartitionRecords(tp, memory, None, first, asked, None, True, READ_COMMITTED))


def test_records_have_what_was_sent_without_the_prefix_and_begin_at_the_offset() -> None:
    found = list(fetched(RecordDeserializer("here.", nobody), first=1))
    assert all(type(one) is Record for one in found)
    at = datetime(2026, 9, 21, 14, 13, 20, 123_000, tzinfo=UTC)
    assert found[0] == Record("usage.events", 3, 1, None, b"", (), at)
    assert found[1] == Record("usage.events", 3, 2, b"", None, (), at.replace(microsecond=124_000))


def test_a_time_that_no_clock_has_is_now() -> None:
    *_, last = fetched(RecordDeserializer("here.", nobody))
    assert abs((datetime.now(UTC) - last.appended_at).total_seconds()) < 60


def test_a_producers_own_time_is_not_believed() -> None:
    for one in fetched(RecordDeserializer("here.", nobody), by_broker=False):
        assert abs((datetime.now(UTC) - one.appended_at).total_seconds()) < 60


def test_records_end_before_an_unreadable_one_which_is_reported_once() -> None:
    told: list[tuple[TopicPartition, int, Exception]] = []
    good, bad = appended(*SENT[:2]), appended(*SENT[2:], first=2)
    bad[-1] ^= 1
    asked = RecordDeserializer("here.", lambda *what: told.append(what))
    assert [one.offset for one in read(asked, bytes(good + bad))] == [0, 1]
    assert [(tp.partition, offset) for tp, offset, _ in told] == [(3, 2)]
    assert asked.decoded == 2


def test_headers_are_kept_in_order() -> None:
    assert next(fetched(RecordDeserializer("", nobody))).headers == (("h", b"1"), ("h", b"2"))


def test_other_consumers_get_aiokafkas_records() -> None:
    found = list(fetched(None))
    assert all(type(one) is ConsumerRecord for one in found)
    assert {one.topic for one in found} == {"here.usage.events"}
