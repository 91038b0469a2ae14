"""Exact unit arithmetic: rounded up once, never a float."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.units import percent_tenths, units_for


@pytest.mark.parametrize(
    ("aggregate", "units", "block", "expected"),
    [
        (0, 8, 100, 0),
        (1, 8, 100, 1),
        (100, 8, 100, 8),
        (101, 8, 100, 9),
        (Decimal("0.0001"), 1, 10_000, 1),
        (10_000, 1, 10_000, 1),
        (10_001, 1, 10_000, 2),
    ],
)
def test_units_are_rounded_up_once(aggregate: Decimal | int, units: int, block: int, expected: int) -> None:
    assert units_for(aggregate, units, block) == expected


@given(st.decimals(0, 10**15, places=9), st.integers(1, 10**6), st.integers(1, 10**6))
def test_units_are_the_smallest_integer_that_covers_the_usage(aggregate: Decimal, units: int, block: int) -> None:
    exact = Fraction(aggregate) * units / block
    assert exact <= units_for(aggregate, units, block) < exact + 1


@pytest.mark.parametrize(("aggregate", "units", "block"), [(-1, 1, 1), (1, 0, 1), (1, 1, 0)])
def test_units_are_refused_when_a_part_makes_no_sense(aggregate: int, units: int, block: int) -> None:
    with pytest.raises(ValueError, match="no consumption from"):
        units_for(aggregate, units, block)


@pytest.mark.parametrize(
    ("part", "whole", "expected"),
    [(0, 10, 0), (1, 3, 333), (2, 3, 667), (799, 1000, 799), (1, 2000, 1), (5, 0, None), (0, 0, None), (11, 10, 1100)],
)
def test_percent_is_in_tenths_when_there_is_a_whole(part: int, whole: int, expected: int | None) -> None:
    assert percent_tenths(part, whole) == expected
