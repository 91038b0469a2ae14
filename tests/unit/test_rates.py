"""A future rate takes effect automatically, and closed windows are unchanged.

It applies from the first window that begins under it.

The catalogue of allocation, the figures of metering, and what reporting shows of them, with the same state.
"""

from datetime import datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.allocation.domain import catalogue
from services.metering.domain.catalogue import product_view_of
from services.metering.domain.consumption import Measured, Snapshot, snapshot
from services.metering.domain.subscription import read_subscription
from services.reporting.domain.subscription_overview import overview_of
from shared.events.commands.catalogue import CreateMeter, CreateProduct, SetRate
from shared.events.state import ProductState, SubscriptionState
from tests.support.builders.metering import START, subscription

WINDOW = timedelta(days=15)
SUBSCRIPTION = subscription("sub-1", ("scan",))


def product(reset: str = "window") -> ProductState:
    """One meter: 1 unit each."""
    made = catalogue.create_product(CreateProduct(product="scan", name="Scan"))
    meter = CreateMeter.model_validate(
        {
            "product": "scan",
            "meter": "host",
            "name": "Host",
            "aggregation": "sum",
            "reset": reset,
            "units": 1,
            "block": 1,
            "effective_from": START,
        }
    )
    added = catalogue.add_meter(made, meter, START)
    assert isinstance(added, ProductState)
    return added


def with_rate(before: ProductState, units: int, at: datetime, now: datetime) -> ProductState:
    """So many units each from ``at`` on, decided at ``now``."""
    rate = SetRate(product="scan", meter="host", units=units, block=1, effective_from=at)
    after = catalogue.add_rate(before, rate, now)
    assert isinstance(after, ProductState), after
    return after


def measured(of: ProductState, window: int, subscription: SubscriptionState = SUBSCRIPTION) -> Snapshot:
    """Metering's figures of a window, each window having had a usage of 10."""
    view = product_view_of(of, {"host": 0})
    starts = [START + number * WINDOW for number in range(window + 1)]
    history = {0: [Measured(start, Decimal(10), start, 1, start) for start in starts]}
    made = snapshot(read_subscription(subscription.model_dump_json()), view, starts[-1], history)
    assert made is not None
    return made


def shown(of: ProductState, now: datetime, subscription: SubscriptionState = SUBSCRIPTION) -> int:
    """The version of the rate that reporting shows at ``now``, nothing measured yet."""
    (one,) = overview_of(subscription, {"scan": of}, {}, now).products
    return one.meters[0].rate_version


@pytest.mark.parametrize("into", [timedelta(0), timedelta(days=7), WINDOW - timedelta(microseconds=1)])
def test_a_future_rate_holds_from_the_first_window_that_begins_under_it(into: timedelta) -> None:
    now = START + WINDOW + timedelta(days=1)
    of = with_rate(product(), 3, START + 2 * WINDOW + into, now)
    first = 2 if into == timedelta(0) else 3
    assert [measured(of, window).consumed for window in range(5)] == [10] * first + [30] * (5 - first)
    assert [measured(of, window).meters[0].rate_version for window in range(5)] == [1] * first + [2] * (5 - first)
    assert [shown(of, START + window * WINDOW) for window in range(5)] == [1] * first + [2] * (5 - first)


def test_a_burn_down_adds_segments_of_different_rates() -> None:
    of = with_rate(product("term"), 3, START + 2 * WINDOW, START)
    assert [measured(of, window).consumed for window in range(4)] == [10, 20, 50, 80]


def test_locked_rates_hold_until_the_term_ends() -> None:
    lock = START + WINDOW
    two_terms = subscription("sub-1", ("scan",), renewed=START + 4 * WINDOW)
    first, second = two_terms.terms
    terms = (first.model_copy(update={"rates_locked_at": lock}), second)
    locked = two_terms.model_copy(update={"terms": terms})
    of = with_rate(product(), 3, START + 2 * WINDOW, START)
    assert [measured(of, window, locked).consumed for window in range(6)] == [10, 10, 10, 10, 30, 30]
    assert [shown(of, START + window * WINDOW, locked) for window in range(6)] == [1, 1, 1, 1, 2, 2]
    assert [measured(of, window, two_terms).consumed for window in range(6)] == [10, 10, 30, 30, 30, 30]


@given(
    st.timedeltas(timedelta(0), 6 * WINDOW),
    st.timedeltas(-catalogue.BACKDATED, 4 * WINDOW),
    st.sampled_from(["window", "term"]),
)
def test_no_rate_that_is_accepted_restates_a_closed_window(now: timedelta, ahead: timedelta, reset: str) -> None:
    decided_at = START + now
    before = product(reset)
    rate = SetRate(product="scan", meter="host", units=7, block=1, effective_from=decided_at + ahead)
    after = catalogue.add_rate(before, rate, decided_at)
    if not isinstance(after, ProductState):
        assert decided_at + ahead <= START
        return
    for window in range(now // WINDOW):
        assert measured(after, window).consumed == measured(before, window).consumed
