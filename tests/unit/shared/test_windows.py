"""Measurement windows are consecutive from the subscription's start.

They have no gaps and no overlaps.
"""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from shared.windows import Calendar, days_left, window_at

ANCHOR = datetime(2026, 1, 10, 8, tzinfo=UTC)
INSTANTS = st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


@given(INSTANTS, st.integers(1, 366))
def test_each_instant_is_in_exactly_one_window(at: datetime, days: int) -> None:
    window = window_at(ANCHOR, at, days)
    assert window.start <= at < window.end
    assert (window.start - ANCHOR) % timedelta(days=days) == timedelta(0)
    assert window_at(ANCHOR, window.end, days).start == window.end


@given(INSTANTS, st.sets(INSTANTS, min_size=1, max_size=4), st.integers(1, 366))
def test_windows_cover_all_terms_without_overlap(at: datetime, starts: set[datetime], days: int) -> None:
    calendar = Calendar(tuple(sorted(starts)), days)
    window = calendar.window_at(at)
    assert window.start <= at < window.end <= window.start + timedelta(days=days)
    assert not any(window.start < start < window.end for start in starts)
    assert calendar.window_at(window.start) == window
    assert calendar.before(window).end == window.start
    assert calendar.before(calendar.window_at(window.end)) == window


def test_a_window_is_provisional_until_three_days_after_its_end() -> None:
    window = window_at(ANCHOR, ANCHOR)
    assert window.is_provisional(window.end + timedelta(days=3) - timedelta(microseconds=1))
    assert not window.is_provisional(window.end + timedelta(days=3))


def test_a_started_day_counts_as_a_day_left() -> None:
    assert days_left(ANCHOR + timedelta(days=2), ANCHOR) == 2
    assert days_left(ANCHOR + timedelta(days=2), ANCHOR + timedelta(seconds=1)) == 2
    assert days_left(ANCHOR + timedelta(days=2), ANCHOR + timedelta(days=1)) == 1
    assert days_left(ANCHOR, ANCHOR) == 0
    assert days_left(ANCHOR, ANCHOR + timedelta(days=9)) == 0
