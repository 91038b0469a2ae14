"""Forecasts and run-outs of subscriptions of every kind, with their sentences."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.reporting.domain.insights.facts import Facts
from shared.events.state import Term
from shared.units import MAX_UNITS
from tests.support.builders.insights import (
    BEGAN,
    ENDS,
    PRESENT,
    WINDOW_DAYS,
    a_lot,
    at_window,
    facts_of,
    insights_now,
    scopes_of,
    state_of,
    windows,
)

GROWING = [400 + 40 * number + (number % 3) * 15 for number in range(12)] + [300]


def pool_sentence(facts: Facts) -> str:
    """Return the sentence of the pool."""
    return insights_now(facts).pool.sentence


def test_a_growing_level_runs_out_between_two_dates() -> None:
    insights = insights_now(facts_of(state_of({"scan": 850}, 850), windows(GROWING)))
    run_out = insights.pool.run_out
    assert run_out.earliest is not None
    assert run_out.around is not None
    assert PRESENT <= run_out.earliest <= run_out.around < ENDS
    assert insights.pool.sentence == (
        "The pool is used up around 14 July, between 5 July and 10 September; the term ends 1 January 2027."
    )
    assert insights.products[0].sentence == (
        "The units of Scan are used up around 14 July, between 5 July and 10 September; the term ends 1 January 2027."
    )


def test_a_stable_level_lasts_as_far_as_the_forecast_reaches() -> None:
    far = pool_sentence(facts_of(state_of({"scan": 700}), windows([400] * 13)))
    assert far == (
        "The pool is not used up before 28 September, which is as far as the forecast reaches; "
        "the term ends 1 January 2027."
    )
    near = state_of({"scan": 700}, term=Term(start=BEGAN, end=PRESENT + timedelta(days=1)))
    assert pool_sentence(facts_of(near, windows([400] * 13))) == "The pool is not used up before the term ends 6 July."


def test_a_range_that_ends_late_says_so() -> None:
    wild = [500, 650, 480, 700, 520, 640, 560, 690, 600, 720, 640, 760]
    state = state_of({"scan": 800}, 800)
    assert pool_sentence(facts_of(state, windows(wild))) == (
        "The pool is used up around 22 September, not before 9 July and perhaps after 28 September, "
        "which is as far as the forecast reaches; the term ends 1 January 2027."
    )
    short = state.model_copy(update={"term": Term(start=BEGAN, end=PRESENT + timedelta(days=82))})
    assert pool_sentence(facts_of(short, windows(wild))) == (
        "The pool is used up around 22 September, not before 9 July and perhaps not before the term ends 25 September."
    )
    earlier = state.model_copy(update={"term": Term(start=BEGAN, end=PRESENT + timedelta(days=30))})
    assert pool_sentence(facts_of(earlier, windows(wild))) == (
        "The pool is probably not used up before the term ends 4 August, at the earliest 9 July."
    )


def test_it_is_too_early_with_three_closed_windows_and_without_a_range_with_seven() -> None:
    def at(number: int) -> Facts:
        now = at_window(number) + timedelta(days=5)
        return facts_of(state_of({"scan": 490}, 490), windows([400 + 10 * n for n in range(number + 1)]), now)

    assert pool_sentence(at(3)) == (
        "It is too early to say when the pool is used up: there are 3 closed windows, too few for a forecast; "
        "the term ends 1 January 2027."
    )
    seven = insights_now(at(7)).pool
    assert seven.run_out.basis == "without_range"
    assert seven.sentence.endswith("the term ends 1 January 2027. There are 7 closed windows, too few for a range.")
    assert (seven.run_out.earliest, seven.run_out.latest) == (None, None)
    assert insights_now(at(8)).pool.run_out.basis == "with_range"


def test_units_that_are_used_up_are_called_so() -> None:
    facts = facts_of(state_of({"scan": 400}, 400), windows([500] * 13))
    assert pool_sentence(facts) == (
        "The pool is already used up: 500 of 400 Units are consumed; the term ends 1 January 2027."
    )
    assert insights_now(facts).pool.run_out.is_before_term_end


def test_a_product_without_units_that_consumes_none_has_no_run_out() -> None:
    insights = insights_now(facts_of(state_of({"scan": 0}, 0), []))
    assert insights.products[0].sentence == "No units are allocated to Scan."
    assert insights.pool.sentence == "No units are purchased."
    assert not insights.pool.run_out.is_before_term_end


def test_a_burn_down_runs_out_and_is_continued_beyond_the_term() -> None:
    rows = windows([*[90] * 12, 30], burns=True)
    product = insights_now(facts_of(state_of({"scan": 2500}, 3000), rows, burning=["scan"])).products[0]
    assert product.run_out.around is None
    assert product.run_out.reaches == ENDS + timedelta(weeks=4)
    assert product.sentence == "The units of Scan are not used up before the term ends 1 January 2027."
    soon = insights_now(facts_of(state_of({"scan": 1170}, 1170), rows, burning=["scan"])).products[0]
    assert soon.sentence == ("The units of Scan are used up around 15 July; the term ends 1 January 2027."), (
        "1,110 are burned down, and 6 are every day"
    )


def test_a_run_out_shortly_after_the_term_is_known_to_readers_of_the_event() -> None:
    state = state_of({"scan": 2490}, 3000)
    facts = facts_of(state, windows([*[100] * 12, 33], burns=True), burning=["scan"])
    run_out = insights_now(facts).products[0].run_out
    assert run_out.around is not None
    assert ENDS < run_out.around < ENDS + timedelta(weeks=4)
    assert not run_out.is_before_term_end


def test_level_and_burn_down_of_one_product_are_added() -> None:
    rows = windows([100] * 13, burns=True)
    both = [type(row)(row.product, row.start, row.end, 1, 50, row.burned_down, row.as_of) for row in rows]
    path = scopes_of(facts_of(state_of({"scan": 5000}, 5000), both))["scan"].path
    assert path[0].median == 1350
    assert path[-1].at == at_window(18), "levels reach six windows ahead"


def test_the_pool_is_used_up_when_a_lot_ends() -> None:
    ends = PRESENT + timedelta(days=10)
    state = state_of({"scan": 300}, lots=[a_lot(500), a_lot(400, end=ends)])
    run_out = insights_now(facts_of(state, windows([600] * 13))).pool.run_out
    assert (run_out.around, run_out.earliest, run_out.latest) == (ends, ends, ends)
    begun = state_of({"scan": 300}, lots=[a_lot(500), a_lot(400, start=PRESENT + timedelta(days=1))])
    assert insights_now(facts_of(begun, windows([450] * 13))).pool.run_out.around is None


def test_a_renewal_that_was_sold_leaves_the_term_and_its_limit() -> None:
    terms = [Term(start=BEGAN, end=ENDS), Term(start=ENDS, end=ENDS + timedelta(days=365))]
    lots = [a_lot(1000), a_lot(9000, start=ENDS, end=ENDS + timedelta(days=365))]
    insights = insights_now(facts_of(state_of({"scan": 700}, terms=terms, lots=lots), windows(GROWING)))
    assert insights.pool.run_out.limit == 1000
    assert insights.pool.run_out.term_end == ENDS


@pytest.mark.parametrize(
    ("more", "now"),
    [
        ({"state": "pending"}, BEGAN - timedelta(days=1)),
        ({"state": "grace"}, ENDS + timedelta(days=1)),
        ({"state": "expired"}, ENDS + timedelta(days=300)),
        ({"state": "cancelled", "cancelled_at": PRESENT}, PRESENT),
        ({"model": "per_product"}, PRESENT),
        ({"products": [], "lots": []}, PRESENT),
    ],
)
def test_every_subscription_has_insights_and_no_plan_where_none_is_allowed(more: dict[str, Any], now: datetime) -> None:
    insights = insights_now(facts_of(state_of({"scan": 100}, **more), windows(GROWING), now))
    assert hasattr(insights.plan, "reason")
    assert insights.pool.sentence.endswith(".")


def test_nothing_is_forecast_outside_the_term() -> None:
    for now in (BEGAN - timedelta(days=1), ENDS, ENDS + timedelta(days=300)):
        assert scopes_of(facts_of(state_of({"scan": 100}), windows(GROWING), now)) == {}
    over = insights_now(facts_of(state_of({"scan": 100}), windows(GROWING), ENDS))
    assert over.pool.sentence == "The term ended 1 January, so there is no forecast."


def test_a_product_that_ended_is_left_out() -> None:
    state = state_of({"scan": 100, "hub": 0})
    ended = state.products[1].model_copy(update={"ended_at": PRESENT - timedelta(days=3)})
    state = state.model_copy(update={"products": (state.products[0], ended)})
    scopes = scopes_of(facts_of(state, [*windows([50] * 13), *windows([900] * 13, "hub")]))
    assert set(scopes) == {"scan", None}
    assert scopes[None].path == scopes["scan"].path


def test_the_open_windows_level_is_a_lower_bound_until_it_closes() -> None:
    path = scopes_of(facts_of(state_of({"scan": 900}), windows([*[400] * 12, 650])))["scan"].path
    assert [(point.low, point.median) for point in path[:2]] == [(650, 650), (650, 650)]
    assert path[2].median == 400


@given(
    st.lists(st.one_of(st.none(), st.integers(0, 10**12)), max_size=13),
    st.lists(st.integers(0, 10**12), max_size=13),
    st.integers(0, 364),
    st.integers(0, 3 * 10**12),
)
def test_a_range_holds_its_median_and_no_figure_leaves_its_bounds(
    levels: list[int | None], burned: list[int], day: int, allocated: int
) -> None:
    now = BEGAN + timedelta(days=day, hours=5)
    rows = [*windows(levels), *windows(list(burned), "hub", burns=True)]
    rows = [row for row in rows if row.start <= now]
    facts = facts_of(state_of({"scan": allocated, "hub": 10**12}, 4 * 10**12), rows, now, burning=["hub"])
    for scope in scopes_of(facts).values():
        assert (scope.path == ()) == (scope.basis == "too_early")
        assert [point.at for point in scope.path] == sorted({point.at for point in scope.path})
        for point in scope.path:
            assert (point.low is None) == (point.high is None) == (scope.basis == "without_range")
            assert (point.low or 0) <= point.median <= (point.high or MAX_UNITS) <= MAX_UNITS
    insights = insights_now(facts)
    for one in (insights.pool, *insights.products):
        run_out = one.run_out
        if run_out.around is not None and run_out.earliest is not None:
            assert run_out.earliest <= run_out.around <= (run_out.latest or run_out.around)
        if run_out.latest is not None:
            assert run_out.around is not None
    hub = [point.low for point in scopes_of(facts)["hub"].path if point.low is not None]
    assert hub == sorted(hub), "what has burned down is not taken back"


def test_the_horizon_is_six_windows() -> None:
    path = scopes_of(facts_of(state_of({"scan": 700}), windows(GROWING)))["scan"].path
    assert [point.at for point in path[1:]] == [at_window(13) + WINDOW_DAYS * step for step in range(6)]
