"""One alert per upward crossing of an armed threshold, in every order of values."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.alerts.domain.crossing import Level, step
from services.alerts.domain.rules import CONSUMPTION_THRESHOLDS, REARM_POINTS, Threshold

PERCENTS = [threshold.percent for threshold in CONSUMPTION_THRESHOLDS]
WHOLES = st.integers(0, 2000)
PARTS = st.integers(0, 3000)


def _walk(values: list[tuple[int, int]]) -> list[int | None]:
    level, crossed = Level(), []
    for part, whole in values:
        taken = step(level, part, whole, CONSUMPTION_THRESHOLDS)
        level = taken.level
        crossed.append(taken.crossed.percent if taken.crossed else None)
    return crossed


@pytest.mark.parametrize(
    ("percents", "crossed"),
    [
        ([79, 80], [None, 80]),
        ([80, 80, 85], [80, None, None]),
        ([85, 95, 105, 115], [80, 90, 100, 110]),
        ([0, 112], [None, 110]),
        ([112, 104, 111], [110, None, 110]),
        ([112, 106, 111], [110, None, None]),
        ([85, 76, 85], [80, None, None]),
        ([85, 75, 85], [80, None, 80]),
        ([95, 84, 91], [90, None, 90]),
        ([95, 70, 85, 95], [90, None, 80, 90]),
    ],
)
def test_a_threshold_is_crossed_once_until_it_is_armed_again(percents: list[int], crossed: list[int | None]) -> None:
    assert _walk([(percent, 100) for percent in percents]) == crossed


def test_a_threshold_is_not_reached_when_the_share_is_just_below() -> None:
    big = 2**53 - 1
    assert _walk([(big * 80 // 100, big), (big * 80 // 100 + 1, big)]) == [None, 80]


def test_a_share_is_a_breach_when_the_whole_is_0_and_the_part_is_not() -> None:
    assert _walk([(0, 0), (1, 0), (2, 0), (0, 0), (1, 0)]) == [None, 110, None, None, 110]


def test_a_new_window_arms_thresholds_above_its_opening_value() -> None:
    level = step(Level(), 95, 100, CONSUMPTION_THRESHOLDS).level
    assert step(level, 95, 100, CONSUMPTION_THRESHOLDS, opening=0).crossed == Threshold(90, "high")
    assert step(level, 95, 100, CONSUMPTION_THRESHOLDS, opening=95).crossed is None
    assert step(level, 101, 100, CONSUMPTION_THRESHOLDS, opening=95).crossed == Threshold(100, "critical")
    assert step(level, 95, 100, CONSUMPTION_THRESHOLDS, opening=85).crossed == Threshold(90, "high")


@given(st.lists(st.tuples(PARTS, WHOLES), max_size=40))
def test_crossings_equal_a_reference_that_arms_each_threshold_separately(values: list[tuple[int, int]]) -> None:
    armed = dict.fromkeys(PERCENTS, True)
    expected = []
    for part, whole in values:
        crossed = []
        for percent in PERCENTS:
            share = Fraction(part * 100, whole) if whole else Fraction(10**9 if part else 0)
            if share <= percent - REARM_POINTS:
                armed[percent] = True
            elif share >= percent and armed[percent]:
                armed[percent] = False
                crossed.append(percent)
        expected.append(max(crossed, default=None))
    assert _walk(values) == expected


@given(st.lists(st.tuples(PARTS, WHOLES), min_size=1, max_size=20))
def test_nothing_changes_when_a_value_is_repeated(values: list[tuple[int, int]]) -> None:
    level = Level()
    for part, whole in values:
        level = step(level, part, whole, CONSUMPTION_THRESHOLDS).level
        again = step(level, part, whole, CONSUMPTION_THRESHOLDS)
        assert again.crossed is None
        assert (again.level.passed, again.level.raised) == (level.passed, level.raised)


@given(st.lists(PARTS, max_size=30), st.integers(1, 2000))
def test_rising_values_cross_each_threshold_at_most_once(parts: list[int], whole: int) -> None:
    crossed = [percent for percent in _walk([(part, whole) for part in sorted(parts)]) if percent]
    assert crossed == sorted(set(crossed))
