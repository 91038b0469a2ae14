"""The SQL that marks subscriptions by their consumption agrees with the domain."""

import random

from services.allocation.domain.overage import observe
from services.allocation.domain.subscriptions import Subscription
from services.allocation.store.due_work import find_next_due
from services.allocation.store.subscriptions import lock_subscription
from shared.events.ids import SubscriptionId
from tests.support.drivers.allocation import START, AllocationDriver, snapshot

SUBSCRIPTION = SubscriptionId("acme-flex")
ROUNDS = 60
LEVELS = (0, 1, 399, 400, 401, 439, 440, 441, 599, 600, 601, 659, 660, 661)
"""Levels around the allocations and around 110 % of them."""


def changes(before: Subscription, after: Subscription) -> bool:
    """Whether the two differ in exhaustion or in the products that are over."""

    def observed(one: Subscription) -> tuple[bool, list[bool]]:
        return one.exhausted, [product.over_since is not None for product in one.state.active_products]

    return observed(before) != observed(after)


async def test_a_subscription_is_marked_only_when_the_domain_would_change_it(
    driver: AllocationDriver,
) -> None:
    await driver.open()
    await driver.plan(scan=600, hub=400)
    driver.now = START.replace(day=20)  # in the second window: the first is the last closed one
    await driver.settle_due()
    rng, seen = random.Random(7), set[bool]()
    for revision in range(1, ROUNDS + 1):
        product, at = rng.choice(["scan", "hub"]), rng.choice([START, driver.now])
        level = rng.choice(LEVELS)
        burned_down = rng.choice([0, 0, level // 2])
        await driver.measure(snapshot(product, level - burned_down, revision=revision, at=at, burned_down=burned_down))
        async with driver.pool.acquire() as connection, connection.transaction():
            subscription = await lock_subscription(connection, SUBSCRIPTION)
            marked = await find_next_due(connection, driver.now, 10) == [SUBSCRIPTION]
        assert subscription is not None
        assert marked is changes(subscription, observe(subscription, driver.now)), (revision, product, level, at)
        seen.add(marked)
        await driver.settle_due()
    assert seen == {True, False}
