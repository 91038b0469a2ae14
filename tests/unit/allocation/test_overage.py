"""Effects of consumption: exhausted pools and restricted products.

The tests include how these end.
"""

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
"""Start of the window that contains ``NOW``."""


def measured(level: int, *, product: str = "scan", window: int = 0, burned_down: int = 0) -> Measured:
    start = FIRST + window * WINDOW
    return Measured(ProductId(product), start, start + WINDOW, 1, level, burned_down)


def consuming(of: Subscription, *some: Measured, now: datetime = NOW) -> tuple[Subscription, list[Any]]:
    """Advance a subscription with this consumption; return it and its events."""
    changed = advance(replace(of, measured=some, settled_at=max(of.settled_at, now - TICK)), now)
    return changed.subscription, list(changed.events)


def scan(of: Subscription) -> SubscribedProduct:
    return of.state.products[0]


@pytest.mark.parametrize(("level", "state"), [(999, "active"), (1000, "exhausted"), (1200, "exhausted")])
def test_a_pool_is_exhausted_when_all_of_it_is_consumed(level: int, state: str) -> None:
    of, events = consuming(subscription(1000, scan=1000), measured(level))
    assert of.state.state == state
    assert [(one.before, one.after) for one in events] == ([("active", "exhausted")] if state != "active" else [])


def test_a_pool_is_not_exhausted_when_it_has_no_units() -> None:
    assert consuming(subscription(lots=(), scan=0), measured(50))[0].state.state == "active"


def test_exhaustion_counts_burned_down_amounts_and_not_the_last_window() -> None:
    both = (measured(300), measured(200, product="hub", burned_down=500))
    assert consuming(subscription(1000, scan=500, hub=500), *both)[0].state.state == "exhausted"
    assert consuming(subscription(1000, scan=1000), measured(1000, window=-1))[0].state.state == "active"


def test_exhaustion_ends_when_units_are_bought() -> None:
    of, _ = consuming(subscription(1000, scan=1000), measured(1000))
    bought = purchase(of, PurchaseLot(subscription="s-1", lot="l-2", units=1, order_reference="PO"), NOW)
    assert isinstance(bought, tuple)
    changed = conclude(of, bought[0], NOW)
    assert changed.subscription.state.state == "active"
    assert [type(one).__name__ for one in changed.events] == ["LifecycleChanged"]
    assert changed.subscription.state.version == of.state.version + 1


def test_exhaustion_ends_when_a_new_window_begins() -> None:
    of, _ = consuming(subscription(1000, scan=1000), measured(1000))
    due = next_due(of, NOW)
    assert due == FIRST + WINDOW
    _, events = consuming(of, *of.measured, now=due)
    assert [(one.before, one.after) for one in events] == [("exhausted", "active")]


def test_exhaustion_ends_when_the_term_ends() -> None:
    of, _ = consuming(subscription(1000, scan=1000), measured(1000), now=NOW)
    changed = advance(replace(of, measured=()), END)
    assert changed.subscription.state.state == "grace"
    assert changed.subscription.exhausted is False


@pytest.mark.parametrize(("level", "over"), [(110, False), (111, True)])
def test_a_product_is_over_above_110_percent(level: int, over: bool) -> None:
    of, events = consuming(subscription(1000, scan=100), measured(level))
    assert scan(of).over_since == (NOW if over else None)
    assert (events, scan(of).restricted) == ([], False)


def test_a_product_is_restricted_after_45_days_above_until_it_is_below() -> None:
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
    changed = conclude(raised.before, raised.after, day_45)
    assert [type(one).__name__ for one in changed.events] == ["RestrictionChanged"]
    assert (scan(changed.subscription).restricted, scan(changed.subscription).over_since) == (False, None)


def test_the_45_days_begin_again_when_consumption_falls_below_in_between() -> None:
    of, _ = consuming(subscription(1000, scan=100), measured(200))
    of, _ = consuming(of, measured(100), now=NOW + timedelta(days=1))
    assert scan(of).over_since is None
    again = NOW + timedelta(days=2)
    of, _ = consuming(of, measured(200), now=again)
    assert scan(of).over_since == again


def test_a_product_is_over_when_its_floor_is() -> None:
    of, _ = consuming(subscription(1000, scan=100), measured(60, window=-1), measured(10, burned_down=51))
    assert scan(of).over_since == NOW


def test_a_product_is_over_when_it_consumes_without_an_allocation() -> None:
    assert scan(consuming(subscription(1000, scan=0), measured(1))[0]).over_since == NOW


def test_consumption_changes_nothing_when_grace_is_over() -> None:
    late = END + timedelta(days=31)
    of, events = consuming(subscription(1000, scan=100), measured(200), now=late)
    assert (scan(of).over_since, [one for one in events if type(one).__name__ == "RestrictionChanged"]) == (None, [])
