"""Subscriptions, the products they use, and purchase lots."""

from datetime import datetime
from typing import Any

import pytest

from services.allocation.domain import accounts, catalogue, lots, products, subscriptions
from services.allocation.domain.subscriptions import Subscription, Terms
from shared.events.commands.accounts import CreateAccount
from shared.events.commands.catalogue import CreateProduct
from shared.events.commands.subscriptions import CreateSubscription, PurchaseLot
from shared.events.ids import ProductId
from shared.events.state import AccountState, Person
from shared.units import MAX_UNITS
from tests.support.builders.people import person_id
from tests.support.builders.subscriptions import END, NINETY_DAYS, NOW, START, TICK, lot, plan, refused, subscription

SCAN, PAULA = ProductId("scan"), person_id("paula@acme.example")


def account(enabled: bool = True) -> AccountState:
    made = accounts.create(CreateAccount(account="acme", name="Acme"))
    assert not made.flex_enabled
    return accounts.set_flex(made, enabled)


def asked(**changes: Any) -> CreateSubscription:
    contact = Person(email="Paula@Acme.example", name="Paula")
    good = {
        "subscription": "s-1",
        "account": "acme",
        "name": "Acme Flex",
        "model": "flex",
        "start": START,
        "end": END,
        "primary_contact": contact,
    }
    return CreateSubscription.model_validate(good | changes)


def purchase(**changes: Any) -> PurchaseLot:
    return PurchaseLot.model_validate(
        {"subscription": "s-1", "lot": "l-2", "units": 5, "order_reference": "PO", **changes}
    )


def test_setting_the_feature_changes_nothing_when_it_is_set() -> None:
    enabled = account()
    assert (enabled.flex_enabled, enabled.version) == (True, 2)
    assert accounts.set_flex(enabled, True) is enabled


def test_a_subscription_keeps_the_terms_it_was_created_on() -> None:
    created = subscriptions.create(asked(), PAULA, account(), Terms(10, 30, "product"), START - TICK)
    assert isinstance(created, Subscription)
    state = created.state
    assert (state.state, state.window_days, state.version) == ("pending", 10, 1)
    assert (state.rebalance.every_days, state.rebalance.scope) == (30, "product")
    assert state.primary_contact == PAULA


@pytest.mark.parametrize("locked", [True, False])
def test_a_subscription_may_begin_with_locked_rates(locked: bool) -> None:
    created = subscriptions.create(asked(lock_rates=locked), PAULA, account(), Terms(), NOW)
    assert isinstance(created, Subscription)
    assert created.state.term.rates_locked_at == (NOW if locked else None)
    assert created.state.terms == (created.state.term,)


def test_a_flex_subscription_is_refused_when_the_feature_is_not_enabled() -> None:
    without = account(False)
    assert refused(subscriptions.create(asked(), PAULA, without, Terms(), NOW)) == (
        "feature_not_enabled",
        {"account": "acme"},
    )
    assert isinstance(subscriptions.create(asked(model="per_product"), PAULA, without, Terms(), NOW), Subscription)


@pytest.mark.parametrize("end", [START, START - TICK])
def test_a_term_ends_after_it_starts(end: datetime) -> None:
    code, numbers = refused(subscriptions.create(asked(end=end), PAULA, account(), Terms(), NOW))
    assert (code, numbers["errors"][0]["field"]) == ("invalid_request", "end")


@pytest.mark.parametrize(
    "start", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00", "2026-01-01T00:00:00", 5e99]
)
def test_a_command_is_invalid_when_its_start_is_no_time(start: Any) -> None:
    with pytest.raises(ValueError, match="start"):
        asked(start=start)


def test_subscribing_a_product_is_refused_when_it_is_subscribed() -> None:
    scan = catalogue.create_product(CreateProduct(product="scan", name="Scan"))
    after = products.subscribe(subscription(1000), SCAN, scan, NOW)
    assert isinstance(after, Subscription)
    assert (after.state.products[0].allocated, after.state.products[0].policy) == (0, "soft")
    assert refused(products.subscribe(after, SCAN, scan, NOW))[0] == "already_exists"
    assert refused(products.subscribe(subscription(1000), SCAN, None, NOW))[0] == "not_found"
    retired = scan.model_copy(update={"retired_at": NOW})
    assert refused(products.subscribe(subscription(1000), SCAN, retired, NOW))[0] == "product_retired"


def test_a_product_returns_its_units_when_unsubscribed_and_may_be_subscribed_again() -> None:
    of = subscription(1000, scan=600, hub=300, last_at=START, lowered={"scan": START})
    without = products.unsubscribe(of, SCAN, NOW)
    assert isinstance(without, Subscription)
    state = without.state
    assert (state.allocated, state.rebalance.last_at, len(state.products)) == (300, START, 2)
    assert (state.products[0].ended_at, state.products[0].allocated) == (NOW, 0)
    assert refused(products.unsubscribe(without, SCAN, NOW)) == ("product_not_subscribed", {"product": "scan"})
    assert refused(plan(without, scan=5))[0] == "product_not_subscribed"
    scan = catalogue.create_product(CreateProduct(product="scan", name="Scan"))
    again = products.subscribe(without, SCAN, scan, NOW)
    assert isinstance(again, Subscription)
    taken = again.state.products[0]
    assert (taken.ended_at, taken.allocated, taken.subscribed_at, taken.last_lowered_at) == (None, 0, NOW, START)


def test_setting_a_policy_is_refused_when_the_product_is_not_subscribed() -> None:
    of = subscription(1000, scan=5)
    after = products.set_policy(of, SCAN, "hard", NOW)
    assert isinstance(after, Subscription)
    assert (after.state.products[0].policy, after.state.version) == ("hard", 8)
    assert products.set_policy(of, SCAN, "soft", NOW) is of
    assert refused(products.set_policy(of, ProductId("hub"), "hard", NOW)) == (
        "product_not_subscribed",
        {"product": "hub"},
    )


@pytest.mark.parametrize(("now", "start"), [(START - NINETY_DAYS, START), (NOW, NOW)])
def test_a_lot_counts_from_now_or_the_terms_start_to_the_terms_end_when_no_dates_are_given(
    now: datetime, start: datetime
) -> None:
    bought = lots.purchase(subscription(1000), purchase(), now)
    assert isinstance(bought, tuple)
    assert (bought[1].start, bought[1].end, bought[1].purchased_at) == (start, END, now)


def test_a_top_up_is_unallocated_and_does_not_start_the_clock() -> None:
    of = subscription(1000, scan=400, last_at=START)
    bought = lots.purchase(of, purchase(units=50), NOW)
    assert isinstance(bought, tuple)
    after = bought[0].state
    assert (after.purchased(NOW), after.allocated, after.version) == (1050, 400, 8)
    assert after.rebalance.last_at == START


@pytest.mark.parametrize(
    ("change", "fields"),
    [
        ({"start": START - TICK}, ["start"]),
        ({"end": END + TICK}, ["end"]),
        ({"start": NOW, "end": NOW}, ["end"]),
        ({"start": END, "end": START}, ["end"]),
        ({"start": START - TICK, "end": END + TICK}, ["start", "end"]),
        ({"units": MAX_UNITS - 999}, ["units"]),
    ],
)
def test_a_lot_is_refused_with_its_fields_when_they_are_invalid(change: dict[str, Any], fields: list[str]) -> None:
    code, numbers = refused(lots.purchase(subscription(1000), purchase(**change), NOW))
    assert (code, [one["field"] for one in numbers["errors"]]) == ("invalid_request", fields)


def test_a_lot_is_refused_when_its_id_exists_or_the_term_is_over() -> None:
    assert refused(lots.purchase(subscription(1000), purchase(lot="lot-1"), NOW)) == ("already_exists", {"id": "lot-1"})
    assert refused(lots.purchase(subscription(1000), purchase(), END)) == (
        "subscription_not_active",
        {"state": "grace"},
    )


@pytest.mark.parametrize("units", [0, -1, 2**53, 2**63, "5", 1.5])
def test_a_purchase_is_invalid_when_its_units_are(units: Any) -> None:
    with pytest.raises(ValueError, match="units"):
        purchase(units=units)


def test_flex_commands_are_refused_when_there_is_no_pool() -> None:
    scan = catalogue.create_product(CreateProduct(product="scan", name="Scan"))
    for of, code in (
        (subscription(1000, model="per_product", lots=(lot(1),), hub=1), "not_a_flex_subscription"),
        (subscription(1000, flex_enabled=False, hub=1), "feature_not_enabled"),
    ):
        assert refused(lots.purchase(of, purchase(), NOW))[0] == code
        assert refused(products.subscribe(of, SCAN, scan, NOW))[0] == code
        assert refused(products.set_policy(of, ProductId("hub"), "hard", NOW))[0] == code
