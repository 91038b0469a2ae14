"""The limit of failures that halts a consumer, counted by customers."""

from datetime import UTC, datetime, timedelta

import pytest

from shared.runtime.delivery.batch_runner import FailureLimit, HaltError
from shared.runtime.records import Record

NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)


def record(key: bytes | None, offset: int = 0) -> Record:
    return Record("t", 0, offset, key, b"", (), NOON)


def failing(limit: FailureLimit, *keys: bytes | None, at: datetime = NOON) -> None:
    for offset, key in enumerate(keys):
        limit.add(at, record(key, offset))


def test_the_consumer_does_not_halt_when_one_customer_fails_with_many_keys() -> None:
    limit = FailureLimit(3, 60)
    failing(limit, *(b"customer|product|%d" % number for number in range(1000)))
    limit.check(NOON)


def test_the_consumer_halts_when_as_many_customers_as_the_limit_fail() -> None:
    limit = FailureLimit(3, 60)
    limit.add_success(NOON, [record(b"well")])
    failing(limit, b"a", b"b")
    limit.check(NOON)
    failing(limit, b"c")
    with pytest.raises(HaltError, match="3 records of 3 keys failed within 60 seconds"):
        limit.check(NOON)
    limit.check(NOON + timedelta(seconds=60))  # the failures are no longer within the 60 seconds


def test_the_consumer_halts_when_more_customers_fail_than_succeed() -> None:
    """A small vendor may have fewer customers than the limit."""
    limit = FailureLimit(10, 60)
    failing(limit, *[b"a", b"b"] * 5)
    with pytest.raises(HaltError):
        limit.check(NOON)
    limit.add_success(NOON, [record(b"c"), record(b"d")])
    limit.check(NOON)
    failing(limit, b"e")
    with pytest.raises(HaltError):
        limit.check(NOON)


def test_each_record_without_a_key_counts_as_one_customer() -> None:
    limit = FailureLimit(3, 60)
    failing(limit, None, None, None)
    with pytest.raises(HaltError):
        limit.check(NOON)
