"""The watch of a subscription: alerts that its changes raise and resolve."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.alerts.domain.measures import Reading
from services.alerts.domain.watch import acknowledge, update_reading
from shared.events.state import SubscriptionState
from shared.units import MAX_UNITS
from tests.support.builders.alerts import (
    ACME,
    GUARD,
    NOW,
    SCAN,
    START,
    WINDOW,
    WatchDriver,
    raised_rules,
    resolved_rules,
    subscription,
)

NEXT_WINDOW = NOW + WINDOW


def test_consumption_is_assessed_when_its_subscription_becomes_known() -> None:
    driver = WatchDriver()
    assert raised_rules(driver.consume(850)) == []
    assert raised_rules(driver.apply_state(subscription())) == [("product_consumption", 80)]


def test_product_and_pool_are_both_watched() -> None:
    driver = WatchDriver(subscription(purchased=1500, scan=1000))
    assert raised_rules(driver.consume(1000)) == [("product_consumption", 100)]
    assert raised_rules(driver.consume(500, GUARD)) == [("product_consumption", 100), ("pool_consumption", 100)]


def test_an_older_revision_is_ignored_when_it_comes_late() -> None:
    driver = WatchDriver(subscription())
    driver.consume(700, revision=5)
    assert raised_rules(driver.consume(950, revision=4)) == []
    assert raised_rules(driver.consume(950, revision=6)) == [("product_consumption", 90)]


def test_an_older_state_is_ignored_when_it_comes_late() -> None:
    driver = WatchDriver(subscription(version=3, scan=1000))
    driver.consume(700)
    assert raised_rules(driver.apply_state(subscription(version=2, scan=700))) == []


def test_an_assessment_changes_nothing_when_repeated() -> None:
    driver = WatchDriver(subscription())
    assert len(driver.consume(850, revision=7).raised) == 1
    again = driver.consume(850, revision=7)
    assert (again.raised, again.resolved) == ((), ())
    again = driver.apply_state(subscription())
    assert (again.raised, again.resolved) == ((), ())


def test_a_restated_closed_window_raises_no_alert() -> None:
    driver = WatchDriver(subscription())
    driver.assess_at(NEXT_WINDOW)
    assert raised_rules(driver.consume(1200, now=NOW)) == []  # of the window before
    second = WatchDriver(subscription())
    second.consume(100, now=NEXT_WINDOW)
    reading_of_then = second.consume(5000, now=NOW)
    assert raised_rules(reading_of_then) == []


def test_raising_the_allocation_resolves_and_lowering_it_crosses() -> None:
    driver = WatchDriver(subscription(version=1, scan=1000))
    driver.consume(950)
    # At 86.4 % it is not yet 5 points below 90.
    assert resolved_rules(driver.apply_state(subscription(version=2, scan=1100))) == []
    assert resolved_rules(driver.apply_state(subscription(version=3, scan=1120))) == [("product_consumption", 90)]
    assert raised_rules(driver.apply_state(subscription(version=4, scan=1000))) == [("product_consumption", 90)]


def test_consumption_without_an_allocation_is_a_breach() -> None:
    driver = WatchDriver(subscription(scan=0))
    assessment = driver.consume(12)
    assert raised_rules(assessment) == [("product_consumption", 110)]
    assert assessment.raised[0].severity == "breach"
    assert assessment.raised[0].message.startswith("Exposure Scan consumed 12 Units and has none allocated.")


def test_a_wholly_allocated_pool_raises_one_alert_over_several_windows() -> None:
    driver = WatchDriver(subscription(version=1, purchased=1600))
    assert raised_rules(driver.apply_state(subscription(version=2, purchased=1500))) == [("pool_allocation", 100)]
    again = driver.assess_at(NEXT_WINDOW)
    assert (again.raised, again.resolved) == ((), ())
    assert resolved_rules(driver.apply_state(subscription(version=3, purchased=1600))) == [("pool_allocation", 100)]


def test_a_purchase_lowers_the_pools_share() -> None:
    driver = WatchDriver(subscription(version=1, purchased=1500, scan=1000))
    driver.consume(900)
    driver.consume(500, GUARD)
    assert [a.rule for a in driver.watch.alerts].count("pool_consumption") == 1
    resolved = resolved_rules(driver.apply_state(subscription(version=2, purchased=3000, scan=1000)))
    assert ("pool_consumption", 90) in resolved


def test_alerts_are_raised_when_a_lot_ends_without_an_event() -> None:
    lots = [
        {"id": "a", "units": 1000, "start": START, "end": START + timedelta(days=365)},
        {"id": "b", "units": 9000, "start": START, "end": NOW + timedelta(days=1)},
    ]
    state = subscription().model_dump() | {"lots": [x | {"order_reference": "o", "purchased_at": START} for x in lots]}
    driver = WatchDriver(SubscriptionState.model_validate(state))
    driver.consume(950, revision=1)
    at = driver.watch.next_check_at
    assert at == NOW + timedelta(days=1)
    assert raised_rules(driver.assess_at(at)) == [("pool_consumption", 90), ("pool_over_allocated", 100)]


def test_a_new_window_ends_alerts_of_the_last_and_arms_again() -> None:
    driver = WatchDriver(subscription())
    driver.consume(950)
    assert driver.watch.next_check_at == START + WINDOW
    assert resolved_rules(driver.assess_at(START + WINDOW)) == [("product_consumption", 90)]
    assert raised_rules(driver.consume(950, now=NEXT_WINDOW)) == [("product_consumption", 90)]


def test_a_new_windows_first_value_may_cross_at_once() -> None:
    driver = WatchDriver(subscription())
    driver.consume(950)
    assessment = driver.consume(960, now=NEXT_WINDOW)
    assert (resolved_rules(assessment), raised_rules(assessment)) == (
        [("product_consumption", 90)],
        [("product_consumption", 90)],
    )
    assert assessment.raised[0].id != assessment.resolved[0].id


def test_a_burn_down_raises_one_alert_over_several_windows() -> None:
    driver = WatchDriver(subscription())
    assert raised_rules(driver.consume(460, GUARD, burned_down=460)) == [("product_consumption", 90)]
    quiet = driver.assess_at(NEXT_WINDOW)
    assert (quiet.raised, quiet.resolved) == ((), ())
    quiet = driver.consume(470, GUARD, burned_down=470, now=NEXT_WINDOW)
    assert (quiet.raised, quiet.resolved) == ((), ())
    assert raised_rules(driver.consume(500, GUARD, burned_down=500, now=NEXT_WINDOW)) == [("product_consumption", 100)]


def test_usage_ahead_of_its_window_waits_for_it() -> None:
    driver, begins = WatchDriver(subscription()), START + WINDOW
    driver.watch = update_reading(driver.watch, Reading(SCAN, begins, revision=1, consumed=950, burned_down=0))
    assert raised_rules(driver.assess_at(begins - timedelta(minutes=5))) == []
    assert raised_rules(driver.assess_at(begins)) == [("product_consumption", 90)]


@pytest.mark.parametrize("changes", [{"state": "cancelled"}, {"state": "read_only"}, {"model": "per_product"}])
def test_alerts_are_resolved_when_the_pool_cannot_be_used(changes: dict[str, Any]) -> None:
    driver = WatchDriver(subscription())
    driver.consume(950)
    assert resolved_rules(driver.apply_state(subscription(version=2, **changes))) == [("product_consumption", 90)]
    assert driver.watch.next_check_at is None


def test_a_product_has_new_alerts_when_it_is_subscribed_again() -> None:
    driver = WatchDriver(subscription())
    first = driver.consume(950).raised[0]
    left = driver.apply_state(subscription(version=2, products=()))
    assert [alert.id for alert in left.resolved] == [first.id]
    back = driver.apply_state(subscription(version=3))
    assert [alert.threshold for alert in back.raised] == [90]
    assert back.raised[0].id != first.id


def test_an_alert_is_acknowledged_once() -> None:
    alert = WatchDriver(subscription()).consume(850).raised[0]
    acknowledged = acknowledge(alert, "paula@acme.example", NOW)
    assert acknowledged is not None
    assert (acknowledged.state, acknowledged.acknowledged_by, acknowledged.version) == (
        "acknowledged",
        "paula@acme.example",
        2,
    )
    assert acknowledge(acknowledged, "alan@acme.example", NOW) is None


def test_the_message_has_the_numbers_the_date_and_the_actions() -> None:
    alert = WatchDriver(subscription(purchased=1620)).consume(850).raised[0]
    assert alert.message == (
        "Exposure Scan consumed 850 of its 1,000 allocated Units (85.0%), which reaches the warning threshold of 80%. "
        "The window ends in 6 days, the term in 356 days."
    )
    assert alert.actions == (
        "120 unallocated Units can be allocated to Exposure Scan",
        "a rebalance is allowed from 14 March 2027",
    )
    assert (alert.subscription, str(alert.value_at), alert.part, alert.limit) == (ACME, "85.0", 850, 1000)


def test_an_over_allocated_pool_is_critical_until_it_is_cured() -> None:
    driver = WatchDriver(subscription(version=1, purchased=1500))
    assert [(a.rule, a.severity) for a in driver.watch.alerts] == [("pool_allocation", "info")]
    (alert,) = driver.apply_state(subscription(version=2, purchased=1499)).raised  # 100.07 %: one unit too many
    assert (alert.rule, alert.severity, alert.scope) == ("pool_over_allocated", "critical", "pool")
    assert (alert.part, alert.limit, str(alert.value_at)) == (1500, 1499, "100.1")
    assert resolved_rules(driver.apply_state(subscription(version=3, purchased=1500))) == [("pool_over_allocated", 100)]
    assert raised_rules(driver.apply_state(subscription(version=4, purchased=1499))) == [("pool_over_allocated", 100)]


def test_only_the_over_allocation_alert_is_raised_when_a_pool_becomes_over_allocated_at_once() -> None:
    driver = WatchDriver(subscription(version=1, purchased=1600))
    assert raised_rules(driver.apply_state(subscription(version=2, purchased=1400))) == [("pool_over_allocated", 100)]


def test_an_over_allocated_pool_says_what_cures_it() -> None:
    driver = WatchDriver(subscription(version=1, purchased=1600))
    (alert,) = driver.apply_state(subscription(version=2, purchased=1400)).raised
    assert alert.message.startswith("1,500 Units are allocated and 1,400 are purchased: 100 Units too many.")
    assert alert.actions[0] == "allocations can be lowered by 100 Units, at any time"


EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("consumes"), st.integers(0, 2000), st.sampled_from([SCAN, GUARD])),
        st.tuples(st.just("allocates"), st.integers(0, 2000), st.just(SCAN)),
        st.tuples(st.just("waits"), st.integers(1, 400), st.just(SCAN)),
    ),
    max_size=30,
)


@given(EVENTS)
def test_alert_ids_are_unique_and_each_alert_is_resolved_at_most_once(events: list[tuple[str, int, str]]) -> None:
    driver, now, version = WatchDriver(subscription()), NOW, 1
    begun: list[str] = []
    ended: list[str] = []
    for what, number, product in events:
        if what == "consumes":
            assessment = driver.consume(number, SCAN if product == SCAN else GUARD, now=now)
        elif what == "allocates":
            version += 1
            assessment = driver.apply_state(subscription(version=version, scan=number), now)
        else:
            now += timedelta(hours=number)
            assessment = driver.assess_at(now)
        begun += [alert.id for alert in assessment.raised]
        ended += [alert.id for alert in assessment.resolved]
        assert len({(a.rule, a.product) for a in assessment.raised}) == len(assessment.raised)
    assert len(begun) == len(set(begun))
    assert len(ended) == len(set(ended))
    assert {alert.id for alert in driver.watch.alerts} == set(begun) - set(ended)


TERM_END = START + timedelta(days=20)
"""Within the second window, which goes on beyond it."""


@pytest.mark.parametrize("has_products", [True, False])
@pytest.mark.parametrize("has_lots", [True, False])
@pytest.mark.parametrize("state", ["active", "exhausted", "grace"])
@pytest.mark.parametrize("since_end", [timedelta(microseconds=-1), timedelta(0), timedelta(microseconds=1), 3 * WINDOW])
def test_a_subscription_is_assessed_when_nothing_lies_ahead_of_it(
    *, has_products: bool, has_lots: bool, state: str, since_end: timedelta
) -> None:
    """Without a term or lot ahead, only the end of the window is left."""
    now = TERM_END + since_end
    term = {"start": START, "end": TERM_END}
    lots = [{"id": "lot-1", "units": 100, **term, "order_reference": "PO-1", "purchased_at": START}]
    driver = WatchDriver()
    changes: dict[str, Any] = {"state": state, "term": term, "lots": lots if has_lots else []}
    if not has_products:
        changes["products"] = []
    driver.apply_state(subscription(**changes), now)
    assert driver.watch.next_check_at is not None
    assert driver.watch.next_check_at > now
    driver.assess_at(driver.watch.next_check_at)
    assert driver.watch.next_check_at > now


def test_sums_are_the_largest_figure_when_beyond_what_an_event_carries() -> None:
    driver = WatchDriver(subscription())
    driver.consume(MAX_UNITS, GUARD)
    driver.consume(MAX_UNITS)
    assert {alert.part for alert in driver.watch.alerts if alert.scope == "pool"} == {MAX_UNITS}


def test_an_alert_is_resolved_when_its_rule_no_longer_exists() -> None:
    driver = WatchDriver(subscription())
    (alert,) = driver.consume(850).raised
    driver.watch = replace(driver.watch, alerts=(alert.model_copy(update={"rule": "of_old"}),))
    assert resolved_rules(driver.consume(860)) == [("of_old", 80)]
