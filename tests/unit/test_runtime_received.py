"""Records made straight from what Kafka sent, for those consumers that ask for them."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.consumer import fetcher
from aiokafka.consumer.fetcher import READ_COMMITTED
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from shared.runtime.delivery import Record
from shared.runtime.received import WithoutPrefix, receive_our_records

AT = 1_790_000_000_123
Sent = tuple[int, bytes | None, bytes | None, list[tuple[str, bytes]]]
SENT: Sequence[Sent] = [
    (AT, b"key", b"value", [("h", b"1"), ("h", b"2")]),
    (AT, None, b"", []),
    (AT + 1, b"", None, []),
    (-(2**60), b"k", b"v", []),
]


@pytest.fixture(autouse=True)
def _theirs_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetcher, "PartitionRecords", fetcher.PartitionRecords)
    monkeypatch.setattr(fetcher, "MemoryRecords", fetcher.MemoryRecords)
    receive_our_records()
    receive_our_records()


def fetched(asked: Any, first: int = 0) -> Iterator[Any]:
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, 0, 1 << 20)
    for offset, (timestamp, key, value, headers) in enumerate(SENT):
        builder.append(offset, timestamp, key, value, headers)
    memory = fetcher.MemoryRecords(bytes(builder.build()))
    tp = TopicPartition("here.usage.events", 3)
    return iter(fetcher.PartitionRecords(tp, memory, None, first, asked, None, True, READ_COMMITTED))


def test_they_say_what_was_sent_without_the_prefix_and_from_the_offset_asked_for() -> None:
    found = list(fetched(WithoutPrefix("here."), first=1))
    assert all(type(one) is Record for one in found)
    at = datetime(2026, 9, 21, 14, 13, 20, 123_000, tzinfo=UTC)
    assert found[0] == Record("usage.events", 3, 1, None, b"", (), at)
    assert found[1] == Record("usage.events", 3, 2, b"", None, (), at.replace(microsecond=124_000))


def test_a_time_that_no_clock_has_is_now() -> None:
    *_, last = fetched(WithoutPrefix("here."))
    assert abs((datetime.now(UTC) - last.appended_at).total_seconds()) < 60


def test_headers_are_kept_in_order() -> None:
    assert next(fetched(WithoutPrefix(""))).headers == (("h", b"1"), ("h", b"2"))


def test_whoever_does_not_ask_gets_theirs() -> None:
    found = list(fetched(None))
    assert all(type(one) is ConsumerRecord for one in found)
    assert {one.topic for one in found} == {"here.usage.events"}
