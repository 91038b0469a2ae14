"""The deserializer that makes records directly from Kafka's bytes.

It is for consumers that use it.
"""

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
"""Positions in a record batch (magic 2), and a bit of its attributes.

The bit says that the time of the batch is the broker's.
"""
AT = 1_790_000_000_123
Sent = tuple[int, bytes | None, bytes | None, list[tuple[str, bytes]]]
SENT: Sequence[Sent] = [
    (AT, b"key", b"value", [("h", b"1"), ("h", b"2")]),
    (AT, None, b"", []),
    (AT + 1, b"", None, []),
    (-(2**60), b"k", b"v", []),
]


def no_report(tp: TopicPartition, offset: int, error: Exception) -> None:
    """Fail: no record of the test is unreadable."""
    raise AssertionError(f"{tp} {offset}") from error


@pytest.fixture(autouse=True)
def _theirs_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetcher, "PartitionRecords", fetcher.PartitionRecords)
    monkeypatch.setattr(fetcher, "MemoryRecords", fetcher.MemoryRecords)
    install_record_deserializer()
    install_record_deserializer()


def appended(*sent: Sent, first: int = 0, by_broker: bool = True) -> bytearray:
    """A batch as the broker stores it: with the broker's time, or with the producer's."""
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


def test_records_equal_what_was_sent_from_the_offset_on() -> None:
    found = list(fetched(RecordDeserializer("here.", no_report), first=1))
    assert all(type(one) is Record for one in found)
    at = datetime(2026, 9, 21, 14, 13, 20, 123_000, tzinfo=UTC)
    assert found[0] == Record("usage.events", 3, 1, None, b"", (), at)
    assert found[1] == Record("usage.events", 3, 2, b"", None, (), at.replace(microsecond=124_000))


def test_the_time_of_a_record_is_now_when_it_is_out_of_range() -> None:
    *_, last = fetched(RecordDeserializer("here.", no_report))
    assert abs((datetime.now(UTC) - last.appended_at).total_seconds()) < 60


def test_the_time_of_a_record_is_now_when_it_is_the_producers() -> None:
    for one in fetched(RecordDeserializer("here.", no_report), by_broker=False):
        assert abs((datetime.now(UTC) - one.appended_at).total_seconds()) < 60


def test_records_before_an_unreadable_one_are_returned_and_it_is_reported_once() -> None:
    reported: list[tuple[TopicPartition, int, Exception]] = []
    good, bad = appended(*SENT[:2]), appended(*SENT[2:], first=2)
    bad[-1] ^= 1
    asked = RecordDeserializer("here.", lambda *what: reported.append(what))
    assert [one.offset for one in read(asked, bytes(good + bad))] == [0, 1]
    assert [(tp.partition, offset) for tp, offset, _ in reported] == [(3, 2)]
    assert asked.decoded == 2


def test_headers_have_the_order_in_which_they_were_sent() -> None:
    assert next(fetched(RecordDeserializer("", no_report))).headers == (("h", b"1"), ("h", b"2"))


def test_a_consumer_without_the_deserializer_gets_aiokafkas_records() -> None:
    found = list(fetched(None))
    assert all(type(one) is ConsumerRecord for one in found)
    assert {one.topic for one in found} == {"here.usage.events"}
