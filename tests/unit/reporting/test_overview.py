"""The arithmetic of the overview."""

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.reporting.domain.current_term import WindowFigures, current_window
from services.reporting.domain.overview import Overview, Renewal
from services.reporting.domain.quantity import quantity
from services.reporting.domain.subscription_overview import overview_of
from shared.events.metering import MeterConsumption
from shared.events.state import ProductState, RebalanceClock, SubscribedProduct, Term
from tests.support.builders.published import CALENDAR, NOW, START, WINDOW, lot, product, subscription


def figures(level: int = 0, burned_down: int = 0, windows_ago: int = 0) -> WindowFigures:
    """Build the figures of one window."""
    window = WINDOW
    for _ in range(windows_ago):
        window = CALENDAR.before(window)
    reset = "term" if burned_down else "window"
    meter = MeterConsumption.model_validate(
        {
            "meter": "host",
            "aggregation": "sum",
            "reset": reset,
            "aggregate": level or burned_down,
            "units": 1,
            "block": 1,
            "rate_version": 1,
            "consumed": level or burned_down,
        }
    )
    return WindowFigures(window.start, 1, level, burned_down, NOW - timedelta(days=windows_ago), (meter,))


def seen(windows: Sequence[WindowFigures], allocated: int = 400, reset: str = "window") -> Overview:
    """Compute the overview of a subscription with one product."""
    known: dict[str, ProductState] = {"scan": product(reset=reset).product}
    return overview_of(subscription(allocated={"scan": allocated}), known, {"scan": windows}, NOW)


def test_consumed_is_0_when_the_window_has_no_snapshot() -> None:
    (shown,) = seen([figures(level=90, windows_ago=1)]).products
    assert (shown.consumed, shown.floor, shown.utilisation) == (0, 90, 0.0)
    assert (shown.meters[0].aggregate, shown.meters[0].consumed) == (Decimal(0), 0)


def test_term_to_date_continues_from_the_newest_window() -> None:
    (shown,) = seen([figures(burned_down=70, windows_ago=3)], reset="term").products
    assert (shown.consumed, shown.floor, shown.meters[0].consumed) == (70, 70, 70)


def test_utilisation_is_unknown_without_an_allocation() -> None:
    (shown,) = seen([figures(level=5)], allocated=0).products
    assert (shown.utilisation, shown.utilisation_class, shown.unused) == (None, "over", -5)


def test_as_of_is_the_newest_and_null_without_usage() -> None:
    assert seen([figures(level=1, windows_ago=1), figures(level=2)]).as_of == NOW
    assert seen([]).as_of is None


@given(
    st.lists(st.integers(0, 10_000), min_size=1, max_size=5),
    st.lists(st.integers(0, 10_000), min_size=5, max_size=5),
    st.integers(1, 20_000),
)
def test_figures_add_up(allocated: list[int], consumed: list[int], purchased: int) -> None:
    names = [f"p{n}" for n in range(len(allocated))]
    state = subscription(allocated=dict(zip(names, allocated, strict=True)), lots=[lot(purchased)])
    by_product = {name: [figures(level=n)] for name, n in zip(names, consumed, strict=False)}
    body = overview_of(state, {}, by_product, NOW)
    assert body.purchased == purchased == body.allocated + body.unallocated - body.over_allocated
    assert min(body.unallocated, body.over_allocated) == 0
    assert body.consumed == sum(one.consumed for one in body.products)
    assert body.unused == body.allocated - body.consumed == sum(one.unused for one in body.products)


@pytest.mark.parametrize(("days", "allowed"), [(-1, True), (0, True), (1, False)])
def test_rebalance_is_allowed_from_its_date_on(days: int, allowed: bool) -> None:
    at = NOW + timedelta(days=days)
    state = subscription(rebalance=RebalanceClock(every_days=90, last_at=START, next_allowed_at=at))
    shown = overview_of(state, {}, {}, NOW).rebalance
    assert shown.allowed is allowed
    assert shown.next_allowed_at == (None if allowed else at)


def _product(name: str, allocated: int, **more: Any) -> SubscribedProduct:
    return SubscribedProduct.model_validate(
        {"product": name, "allocated": allocated, "subscribed_at": START, "policy": "reserve", **more}
    )


@given(
    st.lists(st.tuples(st.integers(0, 500), st.integers(0, 900), st.booleans()), min_size=1, max_size=5),
    st.integers(1, 3000),
)
def test_reserve_draws_at_most_the_unallocated_units_in_the_order_of_products(
    given_and_used: list[tuple[int, int, bool]], purchased: int
) -> None:
    products = [
        _product(f"p{n}", allocated, policy="reserve" if reserves else "soft")
        for n, (allocated, _, reserves) in enumerate(given_and_used)
    ]
    state = subscription(products=products, lots=[lot(purchased)])
    by_product = {f"p{n}": [figures(level=used)] for n, (_, used, _) in enumerate(given_and_used)}
    body = overview_of(state, {}, by_product, NOW)
    over = [max(0, used - allocated) if reserves else 0 for allocated, used, reserves in given_and_used]
    assert body.drawn == sum(one.drawn for one in body.products) == min(sum(over), body.unallocated)
    left = body.unallocated
    for shown, wanted in zip(body.products, over, strict=True):
        assert shown.drawn == min(wanted, left)
        left -= shown.drawn


def test_ended_product_is_left_out_without_a_cost() -> None:
    state = subscription(products=[_product("scan", 5), _product("hub", 0, ended_at=NOW)])
    body = overview_of(state, {}, {"hub": [figures(level=7)]}, NOW)
    assert ([one.product for one in body.products], body.consumed) == (["scan"], 0)
    assert body.products[0].cost is None


def test_renewal_shows_whether_its_units_suffice_for_the_allocations() -> None:
    end = START + timedelta(days=365)
    terms = (Term(start=START, end=end), Term(start=end, end=end + timedelta(days=365)))
    following = lot(300).model_copy(update={"id": "next", "start": end, "end": terms[1].end})
    body = overview_of(subscription(terms=terms, lots=[lot(1000), following]), {}, {}, NOW)
    assert body.renewal == Renewal(end, terms[1].end, 300, carries_over=False)
    assert overview_of(subscription(), {}, {}, NOW).renewal is None


def test_window_is_the_first_when_the_subscription_has_not_begun() -> None:
    assert current_window(subscription(), START - timedelta(days=40)).start == START


@pytest.mark.parametrize(
    ("exact", "shown"),
    [("12", 12), ("12.000", 12), ("12.50", "12.5"), ("0", 0), ("9007199254740992", "9007199254740992")],
)
def test_aggregate_is_an_integer_when_every_json_reader_can_hold_it(exact: str, shown: int | str) -> None:
    assert quantity(Decimal(exact)) == shown
