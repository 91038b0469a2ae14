"""The utilisation class at its limits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.reporting.domain.utilisation_classes import ClosedWindow, utilisation_class

LOW = [ClosedWindow(10, used=True)] * 3
QUIET = [ClosedWindow(0, used=False)] * 3


def of(allocated: int, consumed: int, closed: list[ClosedWindow], *, burns_down: bool = False) -> str | None:
    """Classify a product with usage in the current window, if it consumed anything."""
    return utilisation_class(allocated, consumed, closed, burns_down=burns_down, used_now=consumed > 0)


@pytest.mark.parametrize(
    ("allocated", "consumed", "expected"),
    [
        (1000, 1001, "over"),
        (1000, 1000, "near"),
        (1000, 901, "near"),
        (1000, 900, "healthy"),
        (1000, 500, "healthy"),
        (1000, 499, "under"),
        (0, 1, "over"),
        (0, 0, None),
    ],
)
def test_class_is_by_share_when_three_windows_were_low(allocated: int, consumed: int, expected: str | None) -> None:
    assert of(allocated, consumed, LOW) == expected


def test_product_is_under_only_when_each_of_three_windows_was_low() -> None:
    assert of(100, 49, LOW) == "under"
    assert of(100, 49, [*LOW[:2], ClosedWindow(50, used=True)]) == "healthy"
    assert of(100, 49, LOW[:2]) == "healthy"


def test_product_is_idle_when_three_windows_and_this_one_had_no_usage() -> None:
    assert of(100, 0, QUIET) == "idle"
    assert of(100, 1, QUIET) == "healthy"
    assert of(100, 0, [*QUIET[:2], ClosedWindow(1, used=True)]) == "under"
    assert of(100, 0, QUIET[:2]) is None


def test_product_that_burns_down_is_never_under_but_may_be_idle() -> None:
    assert of(100, 10, LOW, burns_down=True) == "healthy"
    still = [ClosedWindow(10, used=False)] * 3
    assert utilisation_class(100, 10, still, burns_down=True, used_now=False) == "idle"


@given(st.integers(1, 10**9), st.integers(0, 2 * 10**9))
def test_product_is_over_when_it_consumes_more_than_its_allocation(allocated: int, consumed: int) -> None:
    assert (of(allocated, consumed, LOW) == "over") == (consumed > allocated)
