"""The arithmetic of the overview."""

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.reporting.domain.overview import Body, WindowFigures, current_window, overview, quantity
from shared.events.metering import MeterConsumption
from shared.events.state import ProductState, RebalanceClock
from tests.component.reporting.states import CALENDAR, NOW, START, WINDOW, lot, product, subscription


def figures(level: int = 0, burned_down: int = 0, windows_ago: int = 0) -> WindowFigures:
    """One window of a product."""
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


def seen(windows: Sequence[WindowFigures], allocated: int = 400, reset: str = "window") -> Body:
    """The overview of a subscription with one product."""
    known: dict[str, ProductState] = {"scan": product(reset=reset).product}
    return overview(subscription(allocated={"scan": allocated}), known, {"scan": windows}, NOW)


def test_product_without_a_snapshot_in_this_window_consumes_nothing() -> None:
    (shown,) = seen([figures(level=90, windows_ago=1)])["products"]
    assert (shown["consumed"], shown["floor"], shown["utilisation"]) == (0, 90, 0.0)
    assert (shown["meters"][0]["aggregate"], shown["meters"][0]["consumed"]) == (0, 0)


def test_term_to_date_goes_on_from_the_newest_window() -> None:
    (shown,) = seen([figures(burned_down=70, windows_ago=3)], reset="term")["products"]
    assert (shown["consumed"], shown["floor"], shown["meters"][0]["consumed"]) == (70, 70, 70)


def test_utilisation_is_unknown_without_an_allocation() -> None:
    (shown,) = seen([figures(level=5)], allocated=0)["products"]
    assert (shown["utilisation"], shown["class"], shown["unused"]) == (None, "over", -5)


def test_as_of_is_the_newest_and_null_without_usage() -> None:
    assert seen([figures(level=1, windows_ago=1), figures(level=2)])["as_of"] == NOW
    assert seen([])["as_of"] is None


@given(
    st.lists(st.integers(0, 10_000), min_size=1, max_size=5),
    st.lists(st.integers(0, 10_000), min_size=5, max_size=5),
    st.integers(1, 20_000),
)
def test_figures_add_up(allocated: list[int], consumed: list[int], purchased: int) -> None:
    names = [f"p{n}" for n in range(len(allocated))]
    state = subscription(allocated=dict(zip(names, allocated, strict=True)), lots=[lot(purchased)])
    by_product = {name: [figures(level=n)] for name, n in zip(names, consumed, strict=False)}
    body = overview(state, {}, by_product, NOW)
    assert body["purchased"] == purchased == body["allocated"] + body["unallocated"] - body["over_allocated"]
    assert min(body["unallocated"], body["over_allocated"]) == 0
    assert body["consumed"] == sum(one["consumed"] for one in body["products"])
    assert body["unused"] == body["allocated"] - body["consumed"] == sum(one["unused"] for one in body["products"])


@pytest.mark.parametrize(("days", "allowed"), [(-1, True), (0, True), (1, False)])
def test_rebalance_is_allowed_from_its_date_on(days: int, allowed: bool) -> None:
    at = NOW + timedelta(days=days)
    state = subscription(rebalance=RebalanceClock(every_days=90, last_at=START, next_allowed_at=at))
    shown = overview(state, {}, {}, NOW)["rebalance"]
    assert shown["allowed"] is allowed
    assert shown["next_allowed_at"] == (None if allowed else at)


def test_window_of_a_subscription_that_has_not_begun_is_its_first() -> None:
    assert current_window(subscription(), START - timedelta(days=40)).start == START


@pytest.mark.parametrize(
    ("exact", "shown"),
    [("12", 12), ("12.000", 12), ("12.50", "12.5"), ("0", 0), ("9007199254740992", "9007199254740992")],
)
def test_aggregate_is_an_integer_where_every_reader_holds_it(exact: str, shown: int | str) -> None:
    assert quantity(Decimal(exact)) == shown
