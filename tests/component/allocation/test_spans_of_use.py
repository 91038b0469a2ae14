"""Spans of use and the instant of cancellation are kept, and told with every state."""

from datetime import timedelta

from services.allocation.store.subscriptions import lock_subscription
from shared.events.commands.subscriptions import CancelSubscription, SubscribeProduct, UnsubscribeProduct
from shared.events.ids import SubscriptionId
from shared.events.state import Span, SubscriptionState
from tests.support.drivers.allocation import START, AllocationDriver

SUBSCRIPTION = "acme-flex"


async def stored(driver: AllocationDriver) -> SubscriptionState:
    """As the next command finds it."""
    async with driver.pool.acquire() as connection, connection.transaction():
        found = await lock_subscription(connection, SubscriptionId(SUBSCRIPTION))
    assert found is not None
    return found.state


async def test_a_product_that_is_taken_again_keeps_its_earlier_spans_of_use(driver: AllocationDriver) -> None:
    await driver.open()
    spans = []
    for days in (10, 20):
        began = driver.now
        driver.now = START + timedelta(days=days)
        await driver.sell(UnsubscribeProduct(subscription=SUBSCRIPTION, product="scan"))
        spans.append(Span(start=began, end=driver.now))
        driver.now += timedelta(days=1)
        told = await driver.sell(SubscribeProduct(subscription=SUBSCRIPTION, product="scan"))
        taken = told.subscription.products[0]
        assert (taken.subscribed_at, taken.ended_at, taken.earlier) == (driver.now, None, tuple(spans))
        assert (await stored(driver)).products == told.subscription.products
    later = (await driver.plan(scan=5)).subscription
    assert (later.products[0].earlier, later.products[1].earlier) == (tuple(spans), ())


async def test_a_cancelled_subscription_says_since_when(driver: AllocationDriver) -> None:
    await driver.open()
    assert (await stored(driver)).cancelled_at is None
    driver.now = START + timedelta(days=7)
    told = await driver.sell(CancelSubscription(subscription=SUBSCRIPTION, reason="they left"))
    assert told.subscription.cancelled_at == driver.now
    assert (await stored(driver)).cancelled_at == driver.now
