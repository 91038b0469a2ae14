"""Spans of use and times of cancellation are stored and published."""

from datetime import timedelta

from services.allocation.store.subscriptions import lock_subscription
from shared.events.commands.subscriptions import CancelSubscription, SubscribeProduct, UnsubscribeProduct
from shared.events.ids import SubscriptionId
from shared.events.state import Span, SubscriptionState
from tests.support.drivers.allocation import START, AllocationDriver

SUBSCRIPTION = "acme-flex"


async def stored(driver: AllocationDriver) -> SubscriptionState:
    """The subscription's state, as the next command loads it."""
    async with driver.pool.acquire() as connection, connection.transaction():
        found = await lock_subscription(connection, SubscriptionId(SUBSCRIPTION))
    assert found is not None
    return found.state


async def test_earlier_spans_of_use_are_stored_when_a_product_is_subscribed_again(driver: AllocationDriver) -> None:
    await driver.open()
    spans = []
    for days in (10, 20):
        began = driver.now
        driver.now = START + timedelta(days=days)
        await driver.sell(UnsubscribeProduct(subscription=SUBSCRIPTION, product="scan"))
        spans.append(Span(start=began, end=driver.now))
        driver.now += timedelta(days=1)
        decision = await driver.sell(SubscribeProduct(subscription=SUBSCRIPTION, product="scan"))
        taken = decision.subscription.products[0]
        assert (taken.subscribed_at, taken.ended_at, taken.earlier) == (driver.now, None, tuple(spans))
        assert (await stored(driver)).products == decision.subscription.products
    later = (await driver.plan(scan=5)).subscription
    assert (later.products[0].earlier, later.products[1].earlier) == (tuple(spans), ())


async def test_the_time_of_cancellation_is_stored_and_published(driver: AllocationDriver) -> None:
    await driver.open()
    assert (await stored(driver)).cancelled_at is None
    driver.now = START + timedelta(days=7)
    decision = await driver.sell(CancelSubscription(subscription=SUBSCRIPTION, reason="they left"))
    assert decision.subscription.cancelled_at == driver.now
    assert (await stored(driver)).cancelled_at == driver.now
