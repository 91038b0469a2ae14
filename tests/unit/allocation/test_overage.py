"""What consumption does: an exhausted pool, a restricted product, and the way back."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from services.allocation.domain.advance import advance, conclude, next_due
from services.allocation.domain.floor import Measured
from services.allocation.domain.lots import purchase
from services.allocation.domain.overage import TOLERATED_FOR
from services.allocation.domain.subscriptions import Subscription
from shared.events.commands.subscriptions import PurchaseLot
from shared.events.ids import ProductId
from shared.events.state import SubscribedProduct
from tests.support.builders.subscriptions import END, NOW, START, TICK, accepted, plan, subscription

WINDOW = timedelta(days=15)
FIRST = START + 6 * WINDOW
"""The window that holds ``NOW`` begins here."""


def measured(level: int, *, product: str = "scan", window: int = 0, burned_down: int = 0) -> Measured:
    start = FIRST + window * WINDOW
    return Measured(ProductId(product), start, start + WINDOW, 1, level, burned_down)


def consuming(of: Subscription, *some: Measured, now: datetime = NOW) -> tuple[Subscription, list[Any]]:
    """Looked at with this consumption."""
    told = advance(replace(of, measured=some, settled_at=max(of.settled_at, now - TICK)), now)
    return told.subscription, list(told.events)


def scan(of: Subscription) -> SubscribedProduct:
    return of.state.products[0]


@pytest.mark.parametrize(("level", "state"), [(999, "active"), (1000, "exhausted"), (1200, "exhausted")])
def test_a_pool_is_exhausted_once_all_of_it_is_consumed(level: int, state: str) -> None:
    of, events = consuming(subscription(1000, scan=1000), measured(level))
    assert of.state.state == state
    assert [(one.before, one.after) for one in events] == ([("active", "exhausted")] if state != "active" else [])


def test_without_units_there_is_nothing_to_exhaust() -> None:
    assert consuming(subscription(lots=(), scan=0), measured(50))[0].state.state == "active"


def test_figures_that_show_count_also_for_exhaustion() -> None:
    both = (measured(300), measured(200, product="hub", burned_down=500))
    assert consuming(subscription(1000, scan=500, hub=500), *both)[0].state.state == "exhausted"
    assert consuming(subscription(1000, scan=1000), measured(1000, window=-1))[0].state.state == "active"


def test_a_top_up_ends_exhaustion_at_once() -> None:
    of, _ = consuming(subscription(1000, scan=1000), measured(1000))
    bought = purchase(of, PurchaseLot(subscription="s-1", lot="l-2", units=1, order_reference="PO"), NOW)
    assert isinstance(bought, tuple)
    told = conclude(of, bought[0], NOW)
    assert told.subscription.state.state == "active"
    assert [type(one).__name__ for one in told.events] == ["LifecycleChanged"]
    assert told.subscription.state.version == of.state.version + 1


def test_a_new_window_ends_exhaustion_by_itself() -> None:
    of, _ = consuming(subscription(1000, scan=1000), measured(1000))
    due = next_due(of, NOW)
    assert due == FIRST + WINDOW
    _, events = consuming(of, *of.measured, now=due)
    assert [(one.before, one.after) for one in events] == [("exhausted", "active")]


def test_the_end_of_the_term_ends_exhaustion_with_grace() -> None:
    of, _ = consuming(subscription(1000, scan=1000), measured(1000), now=NOW)
    told = advance(replace(of, measured=()), END)
    assert told.subscription.state.state == "grace"
    assert told.subscription.exhausted is False


@pytest.mark.parametrize(("level", "over"), [(110, False), (111, True)])
def test_a_product_is_over_above_110_percent(level: int, over: bool) -> None:
    of, events = consuming(subscription(1000, scan=100), measured(level))
    assert scan(of).over_since == (NOW if over else None)
    assert (events, scan(of).restricted) == ([], False)


def test_it_is_restricted_after_exactly_45_days_and_until_it_is_below_again() -> None:
    of, _ = consuming(subscription(1000, scan=100), measured(200))
    day_45 = NOW + TOLERATED_FOR
    for window in range(1, 4):
        of, events = consuming(of, measured(200, window=window), now=FIRST + window * WINDOW)
        assert events == []
    still = measured(200, window=3)
    assert next_due(of, of.settled_at) == day_45
    assert consuming(of, still, now=day_45 - TICK)[1] == []
    of, (restricted,) = consuming(of, still, now=day_45)
    assert (restricted.product, restricted.restricted, scan(of).restricted) == ("scan", True, True)
    assert scan(of).allocated == 100
    raised = accepted(plan(of, now=day_45, scan=182))
    told = conclude(raised.before, raised.after, day_45)
    assert [type(one).__name__ for one in told.events] == ["RestrictionChanged"]
    assert (scan(told.subscription).restricted, scan(told.subscription).over_since) == (False, None)


def test_falling_below_in_between_begins_the_45_days_anew() -> None:
    of, _ = consuming(subscription(1000, scan=100), measured(200))
    of, _ = consuming(of, measured(100), now=NOW + timedelta(days=1))
    assert scan(of).over_since is None
    again = NOW + timedelta(days=2)
    of, _ = consuming(of, measured(200), now=again)
    assert scan(of).over_since == again


def test_the_last_closed_window_and_the_term_to_date_count_as_for_the_floor() -> None:
    of, _ = consuming(subscription(1000, scan=100), measured(60, window=-1), measured(10, burned_down=51))
    assert scan(of).over_since == NOW


def test_consuming_without_an_allocation_is_over_too() -> None:
    assert scan(consuming(subscription(1000, scan=0), measured(1))[0]).over_since == NOW


def test_after_the_grace_nothing_is_decided_by_consumption() -> None:
    late = END + timedelta(days=31)
    of, events = consuming(subscription(1000, scan=100), measured(200), now=late)
    assert (scan(of).over_since, [one for one in events if type(one).__name__ == "RestrictionChanged"]) == (None, [])
