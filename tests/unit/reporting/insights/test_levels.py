"""The forecast of levels: its definition, its limits, and how good it is."""

import random
from statistics import mean, median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.reporting.domain.insights.levels import STEPS, forecast_levels
from tests.support.builders.insights import generated_levels

TRIALS = 360
Levels = st.lists(st.integers(0, 10**12), min_size=4, max_size=24)


def test_nothing_is_said_when_fewer_than_four_windows_have_closed() -> None:
    assert forecast_levels([]) is None
    assert forecast_levels([100, 110, 120]) is None
    assert forecast_levels([100, 110, 120, 130]) is not None


def test_there_is_no_range_when_fewer_than_eight_windows_have_closed() -> None:
    seven, eight = forecast_levels([100] * 7), forecast_levels([100] * 8)
    assert seven is not None
    assert eight is not None
    assert seven.margins is None
    assert eight.margins == (0.0,) * STEPS


def test_each_window_gets_nine_tenths_of_the_slope_of_the_one_before() -> None:
    forecast = forecast_levels([0, 7, 1000, 1010, 1020, 1030, 1040, 1050, 1060, 1070])
    assert forecast is not None
    assert forecast.base == 1060, "the median of the last three"
    expected = [1060 + 10 * sum(0.9**k for k in range(1, step + 1)) for step in range(1, 7)]
    assert forecast.steps == pytest.approx(expected), "the slope is that of the last eight windows"


@given(Levels)
def test_level_is_never_negative_and_ranges_never_narrow(levels: list[int]) -> None:
    forecast = forecast_levels(levels)
    assert forecast is not None
    assert all(step >= 0 for step in forecast.steps)
    assert len(forecast.steps) == STEPS
    assert forecast.base == median(levels[-3:])
    if forecast.margins is not None:
        assert list(forecast.margins) == sorted(forecast.margins)
        assert forecast.margins[0] >= 0


def test_range_is_as_wide_as_earlier_errors_were() -> None:
    quiet, wild = [1000] * 12, [1000, 1400] * 6
    forecast, other = forecast_levels(quiet), forecast_levels(wild)
    assert forecast is not None
    assert other is not None
    assert forecast.margins == (0.0,) * STEPS
    assert other.margins is not None
    assert min(other.margins) >= 350


@pytest.mark.parametrize("count", [8, 10, 12, 16, 20, 24])
def test_range_holds_the_value_in_about_80_of_100_cases(count: int) -> None:
    chance, held, errors, naive = random.Random(count), 0, 0.0, 0.0
    for _ in range(TRIALS):
        levels = generated_levels(chance, count + STEPS)
        forecast = forecast_levels(levels[:count])
        assert forecast is not None
        assert forecast.margins is not None
        after = levels[count:]
        misses = [abs(a - b) for a, b in zip(forecast.steps, after, strict=True)]
        held += sum(miss <= margin for miss, margin in zip(misses, forecast.margins, strict=True))
        usual = mean(levels) * STEPS
        errors += sum(misses) / usual
        naive += sum(abs(levels[count - 1] - value) for value in after) / usual
    assert 0.70 <= held / TRIALS / STEPS <= 0.90
    assert errors / TRIALS <= 0.12, "mean absolute error, of the usual level"
    assert errors <= naive * 1.05, "at worst about as good as the last value"


def test_a_known_trend_is_forecast_better_than_by_the_last_value() -> None:
    levels = [1000 + 50 * place for place in range(8 + STEPS)]
    forecast = forecast_levels(levels[:8])
    assert forecast is not None
    misses = [abs(a - b) for a, b in zip(forecast.steps, levels[8:], strict=True)]
    assert sum(misses) < sum(abs(levels[7] - value) for value in levels[8:])
