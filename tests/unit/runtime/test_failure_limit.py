"""When so much fails that we must be wrong: counted by whose records they are."""

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


def test_one_customer_never_halts_whatever_its_keys() -> None:
    limit = FailureLimit(3, 60)
    failing(limit, *(b"customer|product|%d" % number for number in range(1000)))
    limit.check(NOON)


def test_as_many_customers_as_the_limit_halt_and_one_fewer_do_not() -> None:
    limit = FailureLimit(3, 60)
    limit.add_success(NOON, [record(b"well")])
    failing(limit, b"a", b"b")
    limit.check(NOON)
    failing(limit, b"c")
    with pytest.raises(HaltError, match="3 records of 3 keys failed within 60 seconds"):
        limit.check(NOON)
    limit.check(NOON + timedelta(seconds=60))  # they are no longer within it


def test_few_customers_halt_when_more_of_them_fail_than_succeed() -> None:
    """A small vendor has fewer customers than the limit."""
    limit = FailureLimit(10, 60)
    failing(limit, *[b"a", b"b"] * 5)
    with pytest.raises(HaltError):
        limit.check(NOON)
    limit.add_success(NOON, [record(b"c"), record(b"d")])
    limit.check(NOON)
    failing(limit, b"e")
    with pytest.raises(HaltError):
        limit.check(NOON)


def test_each_record_without_a_key_counts_as_its_own_owner() -> None:
    limit = FailureLimit(3, 60)
    failing(limit, None, None, None)
    with pytest.raises(HaltError):
        limit.check(NOON)
