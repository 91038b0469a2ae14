"""Lag: counted in records, and in the seconds that the oldest of them has waited."""

from datetime import UTC, datetime, timedelta

from shared.runtime.delivery import Record, TransientError
from shared.runtime.lag import Lag
from shared.runtime.trouble import Trouble

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


def record(partition: int, offset: int, seconds_before_noon: int) -> Record:
    return Record("t", partition, offset, None, b"", (), NOON - timedelta(seconds=seconds_before_noon))


def test_nothing_waits_when_all_is_applied() -> None:
    assert Lag().measure(NOON, {0: 5, 1: 0}, {0: 5, 1: 0}) == (0, 0)


def test_the_oldest_record_of_a_running_batch_counts() -> None:
    lag = Lag()
    lag.begin([record(0, 5, 40), record(0, 6, 10), record(1, 0, 20)])
    assert lag.measure(NOON, {0: 5, 1: 0}, {0: 7, 1: 1}) == (3, 40)


def test_after_a_batch_what_follows_is_no_older_than_its_last_record() -> None:
    lag = Lag()
    lag.begin([record(0, 5, 40), record(0, 6, 10)])
    lag.end([record(0, 5, 40), record(0, 6, 10)])
    assert lag.measure(NOON, {0: 7}, {0: 9}) == (2, 10)
    assert lag.measure(NOON, {0: 9}, {0: 9}) == (0, 0)


def test_what_arrives_after_a_quiet_time_has_not_waited_since_then() -> None:
    lag = Lag()
    lag.end([record(0, 5, 3600)])
    lag.measure(NOON, {0: 6}, {0: 6})
    assert lag.measure(NOON, {0: 6}, {0: 7}) == (1, 0)
    assert lag.measure(NOON + timedelta(seconds=3), {0: 6}, {0: 7}) == (1, 3)


def test_pauses_grow_to_a_bound_and_begin_small_again() -> None:
    trouble = Trouble(delay_max_seconds=2)
    pauses = [trouble.add(ConnectionError("gone")) for _ in range(40)]
    assert 0.05 <= pauses[0] <= 0.1
    assert max(pauses) <= 2
    assert pauses[-1] >= 1
    trouble.over()
    assert trouble.add(ConnectionError("gone")) <= 0.1


def test_a_pause_that_an_error_asks_for_is_kept_within_the_bound() -> None:
    trouble = Trouble(delay_max_seconds=2)
    assert trouble.add(TransientError("wait", delay_seconds=1.5)) == 1.5
    assert trouble.add(TransientError("wait", delay_seconds=600)) == 2
