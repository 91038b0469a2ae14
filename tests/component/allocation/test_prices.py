"""Price lists and the prices of lots, through the inbox on a real database."""

import asyncio
from datetime import timedelta

import pytest

from shared.events.commands.catalogue import SetPriceList
from shared.events.commands.subscriptions import PurchaseLot, RenewSubscription, VoidLot
from shared.events.state import Tier
from shared.pricing import quote_for
from shared.units import MAX_UNITS
from tests.component.allocation.test_people import fields
from tests.support.drivers.allocation import PRIMARY, START, STRANGER, VENDOR, AllocationDriver, Decision
from tests.unit.shared.test_pricing import price_list

SUBSCRIPTION = "acme-flex"


def price_list_command(*tiers: tuple[int, int], list_price: int = 1000, currency: str = "EUR") -> SetPriceList:
    """A price list; without tiers, it has those of the domain's tests."""
    steps = tuple(Tier(from_units=units, discount_basis_points=discount) for units, discount in tiers)
    return SetPriceList(currency=currency, list_price_minor=list_price, tiers=steps or price_list().tiers)


async def buy(driver: AllocationDriver, units: int, lot: str) -> Decision:
    """Sell units for the whole term."""
    return await driver.sell(
        PurchaseLot(subscription=SUBSCRIPTION, lot=lot, units=units, order_reference="PO", start=START)
    )


async def test_a_price_list_is_replaced_version_by_version(driver: AllocationDriver) -> None:
    first = await driver.sell(price_list_command())
    (event,) = first.events
    assert event.price_list == price_list(version=1)
    assert (first.outcome.resource, first.outcome.version, first.audit[0].before) == ("price-list", 1, None)
    same = await driver.sell(price_list_command())
    assert (same.events, same.outcome.version) == ([], 1)
    second = await driver.sell(price_list_command((0, 0), (100, 500), list_price=900, currency="USD"))
    assert (second.outcome.version, second.events[0].price_list.currency) == (2, "USD")
    assert second.audit[0].before == price_list(version=1).model_dump(mode="json")
    assert await driver.pool.fetchval("SELECT count(*) FROM price_lists") == 2


@pytest.mark.parametrize(
    ("tiers", "field"),
    [
        (((1, 0),), "tiers.0.from_units"),
        (((0, 0), (10, 1), (10, 2)), "tiers.2.from_units"),
        (((0, 0), (10, 1), (5, 2)), "tiers.2.from_units"),
        (((0, 100), (10, 99)), "tiers.1.discount_basis_points"),
    ],
)
async def test_a_price_list_is_refused_with_its_field_when_its_tiers_are_invalid(
    driver: AllocationDriver, tiers: tuple[tuple[int, int], ...], field: str
) -> None:
    decision = await driver.ask(price_list_command(*tiers), VENDOR, vendor=True)
    assert fields(decision) == {field}
    assert (decision.events, decision.audit[0].outcome) == ([], "denied")
    assert await driver.pool.fetchval("SELECT count(*) FROM price_lists") == 0


@pytest.mark.parametrize("email", [PRIMARY, STRANGER])
async def test_only_the_vendor_sets_prices(driver: AllocationDriver, email: str) -> None:
    decision = await driver.ask(price_list_command(), email)
    assert (decision.code, decision.audit[0].outcome) == ("forbidden", "denied")


async def test_a_lot_has_the_price_of_the_tier_that_the_term_had_reached(driver: AllocationDriver) -> None:
    await driver.open(units=0)
    await driver.sell(price_list_command())
    first = await buy(driver, 9_999, "l-1")
    price = first.events[0].lot.price
    assert (price.unit_price_minor, price.total_minor, price.years, price.tier_from_units) == (1000, 9_999_000, "1", 0)
    top_up = await buy(driver, 1, "l-2")
    assert top_up.events[0].lot.price.total_minor == 920
    await driver.sell(price_list_command((0, 0), list_price=5000))
    state = (await buy(driver, 1, "l-3")).subscription
    assert [lot.price.total_minor for lot in state.lots if lot.price] == [9_999_000, 920, 5000]
    assert [lot.price.price_list_version for lot in state.lots if lot.price] == [1, 1, 2]


async def test_the_quote_is_the_price_that_the_purchase_gets(driver: AllocationDriver) -> None:
    await driver.open(units=0)
    await driver.sell(price_list_command())
    before = (await buy(driver, 9_000, "l-1")).subscription
    quoted = quote_for(price_list(version=1), before, 1_500, START, before.term.end)
    assert (await buy(driver, 1_500, "l-2")).events[0].lot.price == quoted.price
    driver.now = START + timedelta(days=200, hours=3)
    rest = quote_for(price_list(version=1), before, 7, driver.now, before.term.end)
    sold = await driver.sell(PurchaseLot(subscription=SUBSCRIPTION, lot="l-3", units=7, order_reference="PO"))
    assert sold.events[0].lot.price.years == rest.years == "165/365"


async def test_voided_lots_and_lots_of_other_terms_do_not_count_towards_a_tier(driver: AllocationDriver) -> None:
    await driver.open(units=0)
    await driver.sell(price_list_command())
    await buy(driver, 10_000, "l-1")
    await driver.sell(VoidLot(subscription=SUBSCRIPTION, lot="l-1", reason="ordered twice"))
    assert (await buy(driver, 1, "l-2")).events[0].lot.price.unit_price_minor == 1000
    renewal = RenewSubscription(
        subscription=SUBSCRIPTION,
        end=START + timedelta(days=730),
        units=9_999,
        order_reference="PO-2",
        lot="l-3",
    )
    renewed = await driver.sell(renewal)
    assert renewed.events[0].lot.price.unit_price_minor == 1000
    assert renewed.subscription.lots[-1].price == renewed.events[0].lot.price


async def test_without_a_price_list_a_lot_has_no_price(driver: AllocationDriver) -> None:
    await driver.open(units=0)
    assert (await buy(driver, 5, "l-1")).events[0].lot.price is None
    await driver.sell(price_list_command())
    assert [lot.price is None for lot in (await buy(driver, 5, "l-2")).subscription.lots] == [True, False]


async def test_a_lot_is_refused_when_its_price_is_too_large(driver: AllocationDriver) -> None:
    await driver.open(units=0)
    await driver.sell(price_list_command((0, 0), list_price=10**12))
    much = PurchaseLot(subscription=SUBSCRIPTION, lot="l-1", units=MAX_UNITS, order_reference="PO")
    assert fields(await driver.ask(much, VENDOR, vendor=True)) == {"units"}


async def test_versions_are_consecutive_when_price_lists_are_set_concurrently(driver: AllocationDriver) -> None:
    lists = [price_list_command((0, 0), list_price=n) for n in range(8)]
    decisions = await asyncio.gather(*(driver.sell(one) for one in lists))
    assert sorted(one.outcome.version or 0 for one in decisions) == list(range(1, 9))
