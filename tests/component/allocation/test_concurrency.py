"""Concurrent commands: subscriptions stay consistent and do not delay others."""

import asyncio
import random
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from services.allocation.store.subscriptions import lock_subscription, save_subscription
from shared.events.commands.accounts import AddPerson
from shared.events.commands.plans import ApplyPlan, PlannedChange
from shared.events.commands.subscriptions import (
    PurchaseLot,
    SetPolicy,
    SetPrimaryContact,
    SubscribeProduct,
    UnsubscribeProduct,
    VoidLot,
)
from shared.events.envelope import Event, Payload
from shared.events.ids import SubscriptionId
from tests.support.drivers.allocation import PRIMARY, VENDOR, AllocationDriver, Decision, by_address, command

PRODUCTS = ("scan", "hub", "web")
SUBSCRIPTION = "acme-flex"


def changes(rng: random.Random) -> ApplyPlan:
    named = rng.sample(PRODUCTS, k=rng.randint(1, 3))
    planned = tuple(PlannedChange(product=product, units=rng.randrange(80)) for product in named)
    return ApplyPlan(subscription=SUBSCRIPTION, changes=planned)


async def test_the_pool_is_never_exceeded_when_plans_are_concurrent(driver: AllocationDriver) -> None:
    await driver.open(units=100, products=PRODUCTS)
    rng = random.Random(7)
    decisions = await driver.decide_concurrently([command(changes(rng), PRIMARY) for _ in range(200)])
    assert len(decisions) == 200
    assert {one.code for one in decisions} <= {
        "accepted",
        "insufficient_units",
        "rebalance_too_soon",
        "invalid_request",
    }
    accepted = sorted((one for one in decisions if one.code == "accepted"), key=lambda one: one.subscription.version)
    versions = [one.subscription.version for one in accepted]
    assert versions == list(range(versions[0], versions[0] + len(versions)))
    units = dict.fromkeys(PRODUCTS, 0)
    for one in accepted:
        event = one.events[0]
        assert all(units[change.product] == change.before for change in event.changes)
        units.update({change.product: change.after for change in event.changes})
        assert sum(units.values()) <= 100
    assert await driver.allocated() == units
    assert sum(one.events[0].starts_clock for one in accepted) <= 1


async def test_a_subscription_stays_consistent_when_commands_of_all_kinds_are_concurrent(
    driver: AllocationDriver,
) -> None:
    await driver.open(units=100, products=PRODUCTS)
    await driver.plan(scan=30, hub=30, web=30)
    rng = random.Random(11)
    requested = []
    for n in range(200):
        product = rng.choice(PRODUCTS)
        kinds: list[tuple[Payload, str]] = [
            (changes(rng), PRIMARY),
            (PurchaseLot(subscription=SUBSCRIPTION, lot=f"l-{n}", units=5, order_reference="PO"), VENDOR),
            (VoidLot(subscription=SUBSCRIPTION, lot=f"l-{rng.randrange(n + 1)}", reason="wrong"), VENDOR),
            (UnsubscribeProduct(subscription=SUBSCRIPTION, product=product), VENDOR),
            (SubscribeProduct(subscription=SUBSCRIPTION, product=product), PRIMARY),
            (SetPolicy(subscription=SUBSCRIPTION, product=product, overage=rng.choice(("soft", "hard"))), PRIMARY),
        ]
        payload, actor = rng.choice(kinds)
        requested.append(command(payload, actor, vendor=actor == VENDOR))
    decisions = await driver.decide_concurrently(requested)
    assert len(decisions) == 200
    states = [event.subscription for one in decisions for event in one.events if hasattr(event, "subscription")]
    versions = sorted({state.version for state in states})
    assert versions == list(range(versions[0], versions[0] + len(versions)))
    newest = max(states, key=lambda state: state.version)
    assert await driver.allocated() == {one.product: one.allocated for one in newest.products}
    sold = await driver.pool.fetchval("SELECT sum(units) FROM lots WHERE voided_at IS NULL")
    assert newest.purchased(driver.now) == sold
    assert newest.allocated <= newest.purchased(driver.now)


async def test_commands_on_other_subscriptions_are_decided_when_one_is_locked(driver: AllocationDriver) -> None:
    await driver.open()
    await driver.open(subscription="globex-flex")
    requested = ApplyPlan(subscription=SUBSCRIPTION, changes=(PlannedChange(product="scan", units=5),))
    async with driver.pool.acquire() as held, held.transaction():
        await held.execute("SELECT FROM subscriptions WHERE id = 'acme-flex' FOR UPDATE")
        async with asyncio.timeout(20):
            await driver.postpone(command(requested, PRIMARY), key="acme-flex")
            assert (await driver.plan("globex-flex", scan=5)).code == "accepted"
            assert await driver.retry_postponed() == []
    assert [one.code for one in await driver.retry_postponed()] == ["accepted"]


async def test_a_command_is_refused_as_unavailable_when_its_subscription_stays_locked(driver: AllocationDriver) -> None:
    await driver.open()
    requested = ApplyPlan(subscription=SUBSCRIPTION, changes=(PlannedChange(product="scan", units=5),))
    async with driver.pool.acquire() as held, held.transaction():
        await held.execute("SELECT FROM subscriptions WHERE id = 'acme-flex' FOR UPDATE")
        await driver.postpone(command(requested, PRIMARY))
        driver.now += timedelta(seconds=10)
        assert [one.code for one in await driver.retry_postponed()] == ["unavailable"]


def raised(subscription: str, units: int, actor: str = PRIMARY) -> Event[ApplyPlan]:
    changes = (PlannedChange(product="scan", units=units),)
    return command(ApplyPlan(subscription=subscription, changes=changes), actor)


async def decide_counted(driver: AllocationDriver, requested: Sequence[Event[Any]]) -> tuple[list[Decision], int, int]:
    """Decide a batch; return its decisions and the numbers of two statements.

    The statements are those that lock subscriptions, and those that save plans.
    """
    queries: list[str] = []
    async with driver.pool.acquire() as one:  # all others are taken, so the driver must use this one
        others = [await driver.pool.acquire() for _ in range(driver.pool.get_max_size() - 1)]
        one.add_query_logger(lambda query: queries.append(query.query))
    try:
        decisions = await driver.decide_batch(requested)
    finally:
        for other in others:
            await driver.pool.release(other)
    locks = ("FOR NO KEY UPDATE OF s" in query for query in queries)
    saves = ("INTO plans" in query for query in queries)
    return decisions, sum(locks), sum(saves)


async def test_a_batch_of_plans_is_locked_and_saved_in_one_statement_each(driver: AllocationDriver) -> None:
    for name in ("acme-flex", "globex-flex", "initech-flex"):
        await driver.open(subscription=name)
    requested = [raised(name, 5) for name in ("globex-flex", "acme-flex", "initech-flex")]
    decisions, locks, saves = await decide_counted(driver, requested)
    assert [(one.code, one.subscription.id) for one in decisions] == [
        ("accepted", one.data.subscription) for one in requested
    ]
    assert (locks, saves) == (1, 1)
    by = {name: await driver.id_of(PRIMARY, name) for name in ("acme-flex", "globex-flex", "initech-flex")}
    expected = {(one.data.subscription, by[one.data.subscription], one.id, 0, 5, 5) for one in requested}
    assert await saved_plans(driver) == expected


async def saved_plans(driver: AllocationDriver) -> set[tuple[Any, ...]]:
    """Every saved plan with its change, and the present units of the product."""
    rows = await driver.pool.fetch(
        "SELECT p.subscription, p.actor, p.command_id::text, c.units_before, c.units_after, a.units FROM plans AS p "
        "JOIN plan_changes AS c USING (subscription, version) JOIN subscriptions AS s ON s.id = p.subscription "
        "JOIN allocations AS a ON a.subscription = p.subscription AND a.product = c.product"
    )
    return {tuple(row.values()) for row in rows}


async def test_a_batch_decides_on_its_own_changes_and_postpones_locked_subscriptions(driver: AllocationDriver) -> None:
    for name in ("acme-flex", "globex-flex", "initech-flex"):
        await driver.open(subscription=name)
    requested = [
        raised("acme-flex", 5),
        raised("initech-flex", 5),
        raised("acme-flex", 7),
        raised("unknown", 5),
        raised("globex-flex", 5, "stranger@example.com"),
        raised("globex-flex", 6),
    ]
    async with driver.pool.acquire() as held, held.transaction():
        await held.execute("SELECT FROM subscriptions WHERE id = 'initech-flex' FOR UPDATE")
        decisions = await driver.decide_batch(requested)
    codes = [one.code for one in decisions]
    assert codes == ["accepted", "accepted", "not_found", "not_found", "accepted"]
    assert decisions[1].events[0].changes[0].before == 5
    assert decisions[1].subscription.version == decisions[0].subscription.version + 1
    assert [one.code for one in await driver.retry_postponed()] == ["accepted"]


async def test_plans_are_decided_on_changes_by_other_commands_of_their_batch(driver: AllocationDriver) -> None:
    for name in ("acme-flex", "globex-flex"):
        await driver.open(subscription=name, account=None if name == "acme-flex" else "acme-flex-account")
    await driver.sell(AddPerson(account="acme-flex-account", email="new@example.com", name="New"))
    hand_over = by_address(SetPrimaryContact, subscription="globex-flex", email="new@example.com")
    requested = [
        raised("acme-flex", 5),
        command(await driver.resolved(hand_over), VENDOR, vendor=True),
        raised("globex-flex", 5),
        raised("globex-flex", 6, "new@example.com"),
    ]
    decisions, locks, _ = await decide_counted(driver, requested)
    assert [one.code for one in decisions] == ["accepted", "accepted", "not_found", "accepted"]
    assert locks == 4


async def test_earlier_plans_of_a_batch_are_saved_when_a_command_is_refused(driver: AllocationDriver) -> None:
    for name in ("acme-flex", "globex-flex"):
        await driver.open(subscription=name)
    requested = [
        raised("acme-flex", 5),
        command(SetPrimaryContact(subscription="globex-flex", person=None), VENDOR, vendor=True),
        raised("acme-flex", 7),
        raised("globex-flex", 6),
    ]
    decisions = await driver.decide_batch(requested)
    assert [one.code for one in decisions] == ["accepted", "invalid_request", "accepted", "accepted"]
    assert {(after, units) for *_, after, units in await saved_plans(driver)} == {(5, 7), (7, 7), (6, 6)}


async def test_a_command_has_one_effect_when_it_is_submitted_several_times_at_once(driver: AllocationDriver) -> None:
    await driver.open()
    plan = ApplyPlan(subscription=SUBSCRIPTION, changes=(PlannedChange(product="scan", units=10),))
    requested = command(plan, PRIMARY)
    await asyncio.gather(*(driver.submit(requested) for _ in range(4)), return_exceptions=True)
    await driver.drain()
    assert await driver.pool.fetchval("SELECT count(*) FROM plans") == 1
    assert (await driver.decide(requested)).code == "accepted"


async def test_a_subscription_is_loaded_with_the_latest_changes_when_its_lock_was_awaited(
    driver: AllocationDriver,
) -> None:
    await driver.open()
    async with driver.pool.acquire() as first, first.transaction():
        held = await lock_subscription(first, SubscriptionId(SUBSCRIPTION))
        assert held is not None
        async with driver.pool.acquire() as second, second.transaction():
            waiting = asyncio.create_task(lock_subscription(second, SubscriptionId(SUBSCRIPTION)))
            await until_a_lock_is_awaited(driver)
            changed = [one.model_copy(update={"allocated": 7}) for one in held.state.products]
            await save_subscription(first, held, held.changed(driver.now, products=tuple(changed)))
            await first.execute("COMMIT; BEGIN")
            found = await waiting
    assert found is not None
    assert [one.allocated for one in found.state.products] == [7, 7]
    assert found.state.version == held.state.version + 1


async def until_a_lock_is_awaited(driver: AllocationDriver) -> None:
    """Wait until a connection to this database waits for a lock."""
    waits = """
    SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')
    """
    async with asyncio.timeout(20):
        while not await driver.pool.fetchval(waits):  # noqa: ASYNC110 - another connection
            await asyncio.sleep(0.01)
