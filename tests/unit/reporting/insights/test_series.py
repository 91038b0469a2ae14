"""The series of a product and of a pool: gaps, joiners, terms, short windows."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from services.reporting.domain.insights.series import History, Series, pool_series, series_of
from shared.events.state import SubscriptionState, Term
from tests.support.builders.insights import (
    BEGAN,
    ENDS,
    PRESENT,
    WINDOW_DAYS,
    at_window,
    catalogue_of,
    state_of,
    windows,
)


def series(state: SubscriptionState, rows: list[int | None], *, burns: bool = False) -> Series:
    """Build the series of the product ``scan``."""
    history = History.of(state, PRESENT)
    by_start = {row.start: row for row in windows(rows, burns=burns)}
    known = catalogue_of(["scan"], ["scan"] if burns else [])["scan"]
    return series_of(history, state.products[0], known, by_start)


def test_a_window_without_a_measurement_had_no_usage() -> None:
    found = series(state_of({"scan": 1}), [5, None, 7, *[None] * 8, 9, 4])
    assert found.levels == (5, 0, 7, *[0] * 8, 9)
    assert found.level_now == 4


def test_nothing_measured_is_twelve_windows_of_nothing() -> None:
    assert series(state_of({"scan": 1}), []).levels == (0,) * 12


def test_a_product_counts_from_the_first_window_that_began_after_it_was_subscribed_to() -> None:
    joined = at_window(9) + timedelta(days=1)
    state = state_of({"scan": 1}, subscribed_at={"scan": joined})
    assert series(state, [1] * 13).levels == (1, 1)
    yesterday = state_of({"scan": 1}, subscribed_at={"scan": PRESENT - timedelta(days=1)})
    assert series(yesterday, [1] * 13).levels == ()


def test_what_burned_down_is_the_difference_of_the_running_totals() -> None:
    found = series(state_of({"scan": 1}), [10, 20, None, 5, *[0] * 8, 3], burns=True)
    assert [one.units for one in found.additions] == [10, 20, 0, 5, *[0] * 8, 3]
    assert found.burned_now == 38
    assert found.additions[-1].end == PRESENT, "the open window adds what it has so far"


def test_a_reversal_takes_back_units_but_adds_nothing() -> None:
    state = state_of({"scan": 1})
    rows = windows([10, 20], burns=True)
    rows.append(windows([5], burns=True, first=2)[0])
    found = series_of(History.of(state, PRESENT), state.products[0], None, {row.start: row for row in rows})
    assert [one.units for one in found.additions][:3] == [10, 20, 0]
    assert found.burned_now == 5


def test_running_totals_begin_anew_and_a_short_window_is_left_out_when_a_term_begins() -> None:
    second = BEGAN + timedelta(days=100)  # six windows of 15 days, and one of 10
    state = state_of({"scan": 1}, terms=[Term(start=BEGAN, end=second), Term(start=second, end=ENDS)])
    history = History.of(state, second + WINDOW_DAYS + timedelta(days=2))
    assert [history.is_whole(window) for window in history.closed] == [True] * 6 + [False, True]
    before, after = windows([10] * 7, burns=True), windows([4], burns=True)
    starts = {row.start: row for row in before} | {second: after[0]}
    found = series_of(history, state.products[0], None, starts)
    assert [one.units for one in found.additions] == [10] * 7 + [4, 0]
    assert len(found.levels) == 7
    assert found.burned_now == 4


def test_a_running_total_from_before_the_history_is_no_addition() -> None:
    state = state_of({"scan": 1}, term=Term(start=BEGAN, end=BEGAN + timedelta(days=1000)))
    now = BEGAN + timedelta(days=600, hours=1)
    rows = windows([100] * 41, burns=True)
    found = series_of(History.of(state, now), state.products[0], None, {row.start: row for row in rows[15:]})
    assert {one.units for one in found.additions} == {100}
    assert found.burned_now == 4100


@given(st.lists(st.lists(st.integers(0, 10**12), min_size=12, max_size=13), min_size=1, max_size=5))
def test_the_pool_is_the_sum_of_its_products(levels: list[list[int]]) -> None:
    state = state_of({f"p{number}": 1 for number in range(len(levels))})
    history = History.of(state, PRESENT)
    several = [
        series_of(history, one, None, {row.start: row for row in windows(some, one.product, burns=number % 2 == 1)})
        for number, (one, some) in enumerate(zip(state.products, levels, strict=True))
    ]
    pool = pool_series(several)
    assert sum(pool.levels) == sum(sum(one.levels) for one in several)
    assert sum(one.units for one in pool.additions) == sum(
        addition.units for one in several if "term" in one.resets for addition in one.additions
    )
    assert (pool.level_now, pool.burned_now) == (
        sum(one.level_now for one in several),
        sum(one.burned_now for one in several),
    )


def test_a_pool_without_products_has_no_series() -> None:
    assert pool_series([]) == Series((), (), 0, 0, frozenset())
