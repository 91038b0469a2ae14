"""Lag: the records that are not applied, and the age of the oldest.

The tests also cover the backoff between retries.
"""

from datetime import UTC, datetime, timedelta

from shared.runtime.delivery.backoff import Backoff
from shared.runtime.delivery.lag import Lag
from shared.runtime.delivery.transaction import TransientError
from shared.runtime.records import Record

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


def record(partition: int, offset: int, seconds_before_noon: int) -> Record:
    return Record("t", partition, offset, None, b"", (), NOON - timedelta(seconds=seconds_before_noon))


def behind(lag: Lag, now: datetime, nexts: dict[int, int], ends: dict[int, int]) -> tuple[int, float]:
    """The number of records not applied, and the seconds that the oldest has waited."""
    states = lag.measure(now, nexts, ends).values()
    return sum(one.records for one in states), max(
        ((now - one.since).total_seconds() for one in states if one.since), default=0
    )


def test_lag_is_0_when_all_is_applied() -> None:
    assert behind(Lag(), NOON, {0: 5, 1: 0}, {0: 5, 1: 0}) == (0, 0)


def test_the_oldest_record_of_a_running_batch_counts() -> None:
    lag = Lag()
    lag.begin([record(0, 5, 40), record(0, 6, 10), record(1, 0, 20)])
    assert behind(lag, NOON, {0: 5, 1: 0}, {0: 7, 1: 1}) == (3, 40)
    assert lag.unknown() == []


def test_the_age_of_the_next_record_is_unknown_when_a_batch_is_applied() -> None:
    lag = Lag()
    lag.begin([record(0, 5, 400), record(0, 6, 311)])
    lag.end([record(0, 5, 400), record(0, 6, 311)])
    assert behind(lag, NOON, {0: 7}, {0: 8}) == (1, 0)
    assert lag.unknown() == [0]
    lag.set_appended(0, NOON - timedelta(seconds=2))
    assert behind(lag, NOON, {0: 7}, {0: 8}) == (1, 2)
    assert lag.unknown() == []
    assert behind(lag, NOON, {0: 8}, {0: 8}) == (0, 0)


def test_the_age_of_a_record_counts_from_its_discovery_when_it_was_not_fetched() -> None:
    lag = Lag()
    lag.end([record(0, 5, 3600)])
    assert behind(lag, NOON, {0: 6}, {0: 6}) == (0, 0)
    assert behind(lag, NOON, {0: 6}, {0: 7}) == (1, 0)
    assert behind(lag, NOON + timedelta(seconds=3), {0: 6}, {0: 7}) == (1, 3)


def test_lag_is_0_when_the_end_of_a_partition_is_unknown() -> None:
    assert behind(Lag(), NOON, {0: 6}, {}) == (0, 0)


def test_the_backoff_doubles_up_to_the_maximum_and_is_reset_after_a_success() -> None:
    backoff = Backoff(delay_max_seconds=2)
    pauses = [backoff.add(ConnectionError("gone")) for _ in range(40)]
    assert 0.05 <= pauses[0] <= 0.1
    assert max(pauses) <= 2
    assert pauses[-1] >= 1
    backoff.reset()
    assert backoff.add(ConnectionError("gone")) <= 0.1


def test_the_backoff_is_limited_when_an_error_asks_for_a_longer_one() -> None:
    backoff = Backoff(delay_max_seconds=2)
    assert backoff.add(TransientError("wait", delay_seconds=1.5)) == 1.5
    assert backoff.add(TransientError("wait", delay_seconds=600)) == 2
