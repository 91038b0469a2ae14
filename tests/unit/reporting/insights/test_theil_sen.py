"""The Theil-Sen line, held to SciPy's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import theilslopes

from services.reporting.domain.insights.theil_sen import theil_sen


@given(st.lists(st.integers(0, 10**12), min_size=2, max_size=26))
def test_line_equals_the_one_of_scipy(values: list[int]) -> None:
    line, expected = theil_sen(values), theilslopes(values, range(len(values)), method="joint")
    assert line.slope == pytest.approx(expected.slope, rel=1e-9, abs=1e-6)
    assert line.intercept == pytest.approx(expected.intercept, rel=1e-9, abs=1e-3)


@given(st.integers(-1000, 1000), st.integers(0, 10**6), st.integers(0, 7), st.integers(-(10**9), 10**9))
def test_line_is_unmoved_when_one_of_eight_values_is_odd(slope: int, base: int, place: int, odd: int) -> None:
    values: list[float] = [base + slope * x for x in range(8)]
    values[place] += odd
    line = theil_sen(values)
    assert line.slope == slope
    assert line.at(4) == pytest.approx(base + 4 * slope, abs=1e-6)
