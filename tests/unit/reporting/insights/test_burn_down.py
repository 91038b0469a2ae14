"""The forecast of a burn-down: weekly sums, the sum ahead, and its range."""

import random
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.reporting.domain.insights.burn_down import WEEK, Addition, forecast_burn_down, weekly_sums
from tests.support.builders.insights import BEGAN, generated_days

TRIALS = 300


def additions(days: list[float], span: int) -> list[Addition]:
    """Build additions of ``span`` days each, the last one may be shorter."""
    return [
        Addition(
            BEGAN + timedelta(days=first),
            BEGAN + timedelta(days=min(first + span, len(days))),
            round(sum(days[first : first + span])),
        )
        for first in range(0, len(days), span)
    ]


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=250), st.integers(1, 40))
def test_weeks_add_up_to_what_was_added_in_them(days: list[int], span: int) -> None:
    some = additions([float(one) for one in days], span)
    sums = weekly_sums(some)
    assert len(sums) == min(26, len(days) // 7)
    if len(days) % 7 == 0 and len(days) // 7 <= 26:
        assert sum(sums) == pytest.approx(sum(one.units for one in some), rel=1e-9)
    assert all(one >= 0 for one in sums)


def test_a_window_counts_in_each_week_by_its_days() -> None:
    some = additions([10.0] * 15 + [20.0] * 15, 15)
    assert weekly_sums(some) == pytest.approx([70, 80, 140, 140]), "the second week has one day of the second window"


def test_nothing_is_said_when_there_are_fewer_than_four_weeks() -> None:
    assert forecast_burn_down([]) is None
    assert forecast_burn_down(additions([1.0] * 27, 1)) is None
    forecast = forecast_burn_down(additions([1.0] * 28, 15))
    assert forecast is not None
    assert forecast.margin(WEEK) is None, "two windows are too few for a range"


@pytest.mark.parametrize("span", [1, 7, 15])
def test_a_constant_rate_goes_on_and_its_range_is_empty(span: int) -> None:
    forecast = forecast_burn_down(additions([10.0] * 210, span))
    assert forecast is not None
    assert forecast.added(timedelta(days=100)) == pytest.approx(1000)
    assert forecast.margin(timedelta(days=100)) == pytest.approx(0, abs=1e-3)


def test_a_growing_rate_grows_on() -> None:
    days = [100.0 + day for day in range(182 + 91)]
    forecast = forecast_burn_down(additions(days[:182], 1))
    assert forecast is not None
    assert forecast.added(timedelta(days=91)) == pytest.approx(sum(days[182:]), rel=0.001)


def test_a_falling_rate_ends_at_nothing_and_takes_nothing_back() -> None:
    forecast = forecast_burn_down(additions([max(0.0, 200.0 - day) for day in range(182)], 1))
    assert forecast is not None
    assert forecast.added(timedelta(days=30)) == pytest.approx(forecast.added(timedelta(days=300)), abs=1)
    assert forecast.added(timedelta(days=300)) == pytest.approx(sum(range(18)), abs=20)
    gone = forecast_burn_down(additions([max(0.0, 100.0 - day) for day in range(182)], 1))
    assert gone is not None
    assert gone.added(timedelta(days=300)) >= 0


@given(st.lists(st.integers(0, 10**6), min_size=28, max_size=200), st.integers(1, 30))
def test_the_sum_and_its_range_only_grow_with_time(days: list[int], span: int) -> None:
    forecast = forecast_burn_down(additions([float(one) for one in days], span))
    if forecast is None:
        return
    ahead = [forecast.added(WEEK * weeks) for weeks in range(60)]
    assert ahead == sorted(ahead)
    assert ahead[0] == 0
    margins = [forecast.margin(WEEK * weeks) for weeks in range(60)]
    known = [one for one in margins if one is not None]
    assert known == sorted(known)
    assert len(known) in {0, 60}


@pytest.mark.parametrize("span", [15, 1])
@pytest.mark.parametrize("days", [120, 180, 365])
def test_range_holds_the_sum_in_about_80_of_100_cases(span: int, days: int) -> None:
    held = count = 0
    errors = 0.0
    for ahead in (28, 91, 182):
        chance = random.Random(days * ahead)
        for _ in range(TRIALS // 3):
            values = generated_days(chance, days + ahead)
            forecast = forecast_burn_down(additions(values[:days], span))
            assert forecast is not None
            happened, expected = sum(values[days:]), forecast.added(timedelta(days=ahead))
            margin = forecast.margin(timedelta(days=ahead))
            if margin is not None:
                held, count = held + (abs(expected - happened) <= margin), count + 1
            errors += abs(expected - happened) / max(1.0, happened) / TRIALS
    assert count == TRIALS
    assert 0.70 <= held / count <= 0.92
    assert errors <= 0.12
