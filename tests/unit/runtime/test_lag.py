"""Lag: counted in records, and in the seconds that the oldest of them has waited."""

from datetime import UTC, datetime, timedelta

from shared.runtime.delivery.backoff import Backoff
from shared.runtime.delivery.lag import Lag
from shared.runtime.delivery.transaction import TransientError
from shared.runtime.records import Record

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


def record(partition: int, offset: int, seconds_before_noon: int) -> Record:
    return Record("t", partition, offset, None, b"", (), NOON - timedelta(seconds=seconds_before_noon))


def behind(lag: Lag, now: datetime, nexts: dict[int, int], ends: dict[int, int]) -> tuple[int, float]:
    """Records not applied, and for how many seconds the oldest has waited."""
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


def test_an_unseen_record_counts_from_when_it_was_noticed() -> None:
    lag = Lag()
    lag.end([record(0, 5, 3600)])
    assert behind(lag, NOON, {0: 6}, {0: 6}) == (0, 0)
    assert behind(lag, NOON, {0: 6}, {0: 7}) == (1, 0)
    assert behind(lag, NOON + timedelta(seconds=3), {0: 6}, {0: 7}) == (1, 3)


def test_a_partition_without_a_known_end_is_not_behind() -> None:
    assert behind(Lag(), NOON, {0: 6}, {}) == (0, 0)


def test_pauses_double_up_to_the_maximum_and_start_small_after_a_success() -> None:
    trouble = Backoff(delay_max_seconds=2)
    pauses = [trouble.add(ConnectionError("gone")) for _ in range(40)]
    assert 0.05 <= pauses[0] <= 0.1
    assert max(pauses) <= 2
    assert pauses[-1] >= 1
    trouble.reset()
    assert trouble.add(ConnectionError("gone")) <= 0.1


def test_a_pause_that_an_error_asks_for_is_kept_within_the_bound() -> None:
    trouble = Backoff(delay_max_seconds=2)
    assert trouble.add(TransientError("wait", delay_seconds=1.5)) == 1.5
    assert trouble.add(TransientError("wait", delay_seconds=600)) == 2
