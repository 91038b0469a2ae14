"""Many commands at once: one subscription stays whole, others do not wait."""

import asyncio
import random

from shared.events.commands import ApplyPlan, PlannedChange
from tests.component.allocation.desk import PRIMARY, Desk, command


async def test_concurrent_plans_on_one_subscription_never_break_the_pool(desk: Desk) -> None:
    await desk.open(units=100, products=("scan", "hub", "web"))
    rng = random.Random(7)
    asked = [
        ApplyPlan(
            subscription="acme-flex",
            changes=tuple(
                PlannedChange(product=product, units=rng.randrange(80))
                for product in rng.sample(["scan", "hub", "web"], k=rng.randint(1, 3))
            ),
        )
        for _ in range(200)
    ]
    async with asyncio.timeout(90):
        told = await asyncio.gather(*(desk.hand_in(command(one, PRIMARY)) for one in asked))
    accepted = [one for one in told if one.code == "accepted"]
    assert accepted
    assert {one.code for one in told} <= {"accepted", "insufficient_units", "rebalance_too_soon", "invalid_request"}
    by_version = sorted(accepted, key=lambda one: one.subscription.version)
    versions = [one.subscription.version for one in by_version]
    assert versions == list(range(versions[0], versions[0] + len(versions)))
    units = {"scan": 0, "hub": 0, "web": 0}
    for one in by_version:
        event = one.events[0]
        assert all(units[change.product] == change.before for change in event.changes)
        units.update({change.product: change.after for change in event.changes})
        assert sum(units.values()) <= 100
    assert await desk.allocated() == units
    assert sum(one.events[0].starts_clock for one in accepted) <= 1


async def test_commands_on_other_subscriptions_do_not_wait(desk: Desk) -> None:
    await desk.open()
    await desk.open(subscription="globex-flex")
    async with desk.pool.acquire() as held, held.transaction():
        await held.execute("SELECT FROM subscriptions WHERE id = 'acme-flex' FOR UPDATE")
        async with asyncio.timeout(20):
            assert (await desk.plan("globex-flex", scan=5)).code == "accepted"


async def test_the_same_command_at_the_same_time_has_one_effect(desk: Desk) -> None:
    await desk.open()
    plan = ApplyPlan(subscription="acme-flex", changes=(PlannedChange(product="scan", units=10),))
    asked = command(plan, PRIMARY)
    results = await asyncio.gather(*(desk.hand_in(asked) for _ in range(4)), return_exceptions=True)
    assert sum(not isinstance(one, BaseException) for one in results) >= 1
    assert await desk.pool.fetchval("SELECT count(*) FROM plans") == 1
    assert (await desk.hand_in(asked)).code == "accepted"
