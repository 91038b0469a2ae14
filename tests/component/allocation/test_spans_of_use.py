"""Spans of use and the instant of cancellation are kept, and told with every state."""

from datetime import timedelta

from services.allocation.store.subscriptions import lock_subscription
from shared.events.commands.subscriptions import CancelSubscription, SubscribeProduct, UnsubscribeProduct
from shared.events.ids import SubscriptionId
from shared.events.state import Span, SubscriptionState
from tests.component.allocation.desk import START, Desk

SUBSCRIPTION = "acme-flex"


async def stored(desk: Desk) -> SubscriptionState:
    """As the next command finds it."""
    async with desk.pool.acquire() as connection, connection.transaction():
        found = await lock_subscription(connection, SubscriptionId(SUBSCRIPTION))
    assert found is not None
    return found.state


async def test_a_product_that_is_taken_again_keeps_its_earlier_spans_of_use(desk: Desk) -> None:
    await desk.open()
    spans = []
    for days in (10, 20):
        began = desk.now
        desk.now = START + timedelta(days=days)
        await desk.sell(UnsubscribeProduct(subscription=SUBSCRIPTION, product="scan"))
        spans.append(Span(start=began, end=desk.now))
        desk.now += timedelta(days=1)
        told = await desk.sell(SubscribeProduct(subscription=SUBSCRIPTION, product="scan"))
        taken = told.subscription.products[0]
        assert (taken.subscribed_at, taken.ended_at, taken.earlier) == (desk.now, None, tuple(spans))
        assert (await stored(desk)).products == told.subscription.products
    later = (await desk.plan(scan=5)).subscription
    assert (later.products[0].earlier, later.products[1].earlier) == (tuple(spans), ())


async def test_a_cancelled_subscription_says_since_when(desk: Desk) -> None:
    await desk.open()
    assert (await stored(desk)).cancelled_at is None
    desk.now = START + timedelta(days=7)
    told = await desk.sell(CancelSubscription(subscription=SUBSCRIPTION, reason="they left"))
    assert told.subscription.cancelled_at == desk.now
    assert (await stored(desk)).cancelled_at == desk.now
