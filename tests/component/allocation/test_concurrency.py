"""Many commands at once: one subscription stays whole, others do not wait."""

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
from tests.component.allocation.desk import PRIMARY, VENDOR, Desk, Told, command

PRODUCTS = ("scan", "hub", "web")
SUBSCRIPTION = "acme-flex"


def changes(rng: random.Random) -> ApplyPlan:
    named = rng.sample(PRODUCTS, k=rng.randint(1, 3))
    planned = tuple(PlannedChange(product=product, units=rng.randrange(80)) for product in named)
    return ApplyPlan(subscription=SUBSCRIPTION, changes=planned)


async def test_concurrent_plans_on_one_subscription_never_break_the_pool(desk: Desk) -> None:
    await desk.open(units=100, products=PRODUCTS)
    rng = random.Random(7)
    told = await desk.all_at_once([command(changes(rng), PRIMARY) for _ in range(200)])
    assert len(told) == 200
    assert {one.code for one in told} <= {"accepted", "insufficient_units", "rebalance_too_soon", "invalid_request"}
    accepted = sorted((one for one in told if one.code == "accepted"), key=lambda one: one.subscription.version)
    versions = [one.subscription.version for one in accepted]
    assert versions == list(range(versions[0], versions[0] + len(versions)))
    units = dict.fromkeys(PRODUCTS, 0)
    for one in accepted:
        event = one.events[0]
        assert all(units[change.product] == change.before for change in event.changes)
        units.update({change.product: change.after for change in event.changes})
        assert sum(units.values()) <= 100
    assert await desk.allocated() == units
    assert sum(one.events[0].starts_clock for one in accepted) <= 1


async def test_concurrent_commands_of_all_kinds_keep_the_subscription_whole(desk: Desk) -> None:
    await desk.open(units=100, products=PRODUCTS)
    await desk.plan(scan=30, hub=30, web=30)
    rng = random.Random(11)
    asked = []
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
        asked.append(command(payload, actor, vendor=actor == VENDOR))
    told = await desk.all_at_once(asked)
    assert len(told) == 200
    states = [event.subscription for one in told for event in one.events if hasattr(event, "subscription")]
    versions = sorted({state.version for state in states})
    assert versions == list(range(versions[0], versions[0] + len(versions)))
    newest = max(states, key=lambda state: state.version)
    assert await desk.allocated() == {one.product: one.allocated for one in newest.products}
    sold = await desk.pool.fetchval("SELECT sum(units) FROM lots WHERE voided_at IS NULL")
    assert newest.purchased(desk.now) == sold
    assert newest.allocated <= newest.purchased(desk.now)


async def test_commands_on_other_subscriptions_do_not_wait(desk: Desk) -> None:
    await desk.open()
    await desk.open(subscription="globex-flex")
    asked = ApplyPlan(subscription=SUBSCRIPTION, changes=(PlannedChange(product="scan", units=5),))
    async with desk.pool.acquire() as held, held.transaction():
        await held.execute("SELECT FROM subscriptions WHERE id = 'acme-flex' FOR UPDATE")
        async with asyncio.timeout(20):
            await desk.put_aside(command(asked, PRIMARY), key="acme-flex")
            assert (await desk.plan("globex-flex", scan=5)).code == "accepted"
            assert await desk.again() == []
    assert [one.code for one in await desk.again()] == ["accepted"]


async def test_a_command_does_not_wait_for_ever_for_a_subscription(desk: Desk) -> None:
    await desk.open()
    asked = ApplyPlan(subscription=SUBSCRIPTION, changes=(PlannedChange(product="scan", units=5),))
    async with desk.pool.acquire() as held, held.transaction():
        await held.execute("SELECT FROM subscriptions WHERE id = 'acme-flex' FOR UPDATE")
        await desk.put_aside(command(asked, PRIMARY))
        desk.now += timedelta(seconds=10)
        assert [one.code for one in await desk.again()] == ["unavailable"]


def raised(subscription: str, units: int, actor: str = PRIMARY) -> Event[ApplyPlan]:
    changes = (PlannedChange(product="scan", units=units),)
    return command(ApplyPlan(subscription=subscription, changes=changes), actor)


async def ways_of(desk: Desk, asked: Sequence[Event[Any]]) -> tuple[list[Told], int, int]:
    """What became of a batch, and by how many statements subscriptions were locked, and plans kept."""
    taken: list[str] = []
    async with desk.pool.acquire() as one:  # the only free connection, so that it is the one that is listened to
        others = [await desk.pool.acquire() for _ in range(desk.pool.get_max_size() - 1)]
        one.add_query_logger(lambda query: taken.append(query.query))
    try:
        told = await desk.batch(asked)
    finally:
        for other in others:
            await desk.pool.release(other)
    locks, saves = ("FOR NO KEY UPDATE OF s" in query for query in taken), ("INTO plans" in query for query in taken)
    return told, sum(locks), sum(saves)


async def test_a_batch_of_plans_is_loaded_and_kept_together(desk: Desk) -> None:
    for name in ("acme-flex", "globex-flex", "initech-flex"):
        await desk.open(subscription=name)
    asked = [raised(name, 5) for name in ("globex-flex", "acme-flex", "initech-flex")]
    told, locks, saves = await ways_of(desk, asked)
    assert [(one.code, one.subscription.id) for one in told] == [("accepted", one.data.subscription) for one in asked]
    assert (locks, saves) == (1, 1)
    assert await kept(desk) == {(one.data.subscription, PRIMARY, one.id, 0, 5, 5) for one in asked}


async def kept(desk: Desk) -> set[tuple[Any, ...]]:
    """Every plan on record, with its change, and the units of the product now."""
    rows = await desk.pool.fetch(
        "SELECT p.subscription, p.actor, p.command_id::text, c.units_before, c.units_after, a.units FROM plans AS p "
        "JOIN plan_changes AS c USING (subscription, version) JOIN subscriptions AS s ON s.id = p.subscription "
        "JOIN allocations AS a ON a.subscription = p.subscription AND a.product = c.product"
    )
    return {tuple(row.values()) for row in rows}


async def test_a_batch_sees_what_it_did_itself_and_leaves_out_what_others_have(desk: Desk) -> None:
    for name in ("acme-flex", "globex-flex", "initech-flex"):
        await desk.open(subscription=name)
    asked = [
        raised("acme-flex", 5),
        raised("initech-flex", 5),
        raised("acme-flex", 7),
        raised("nobody", 5),
        raised("globex-flex", 5, "stranger@example.com"),
        raised("globex-flex", 6),
    ]
    async with desk.pool.acquire() as held, held.transaction():
        await held.execute("SELECT FROM subscriptions WHERE id = 'initech-flex' FOR UPDATE")
        told = await desk.batch(asked)
    codes = [one.code for one in told]
    assert codes == ["accepted", "accepted", "not_found", "not_found", "accepted"]
    assert told[1].events[0].changes[0].before == 5
    assert told[1].subscription.version == told[0].subscription.version + 1
    assert [one.code for one in await desk.again()] == ["accepted"]


async def test_plans_are_decided_by_what_other_commands_of_their_batch_have_done(desk: Desk) -> None:
    for name in ("acme-flex", "globex-flex"):
        await desk.open(subscription=name, account=None if name == "acme-flex" else "acme-flex-account")
    await desk.sell(AddPerson(account="acme-flex-account", email="new@example.com", name="New"))
    hand_over = SetPrimaryContact(subscription="globex-flex", email="new@example.com")
    asked = [
        raised("acme-flex", 5),
        command(hand_over, VENDOR, vendor=True),
        raised("globex-flex", 5),
        raised("globex-flex", 6, "new@example.com"),
    ]
    told, locks, _ = await ways_of(desk, asked)
    assert [one.code for one in told] == ["accepted", "accepted", "not_found", "accepted"]
    assert locks == 4


async def test_a_refused_command_undoes_no_plan_before_it(desk: Desk) -> None:
    for name in ("acme-flex", "globex-flex"):
        await desk.open(subscription=name)
    asked = [
        raised("acme-flex", 5),
        command(SetPrimaryContact(subscription="globex-flex", email="nobody@example.com"), VENDOR, vendor=True),
        raised("acme-flex", 7),
        raised("globex-flex", 6),
    ]
    told = await desk.batch(asked)
    assert [one.code for one in told] == ["accepted", "invalid_request", "accepted", "accepted"]
    assert {(after, units) for *_, after, units in await kept(desk)} == {(5, 7), (7, 7), (6, 6)}


async def test_the_same_command_at_the_same_time_has_one_effect(desk: Desk) -> None:
    await desk.open()
    plan = ApplyPlan(subscription=SUBSCRIPTION, changes=(PlannedChange(product="scan", units=10),))
    asked = command(plan, PRIMARY)
    await asyncio.gather(*(desk.submit(asked) for _ in range(4)), return_exceptions=True)
    await desk.drain()
    assert await desk.pool.fetchval("SELECT count(*) FROM plans") == 1
    assert (await desk.hand_in(asked)).code == "accepted"


async def test_who_waited_for_a_subscription_sees_what_was_changed_meanwhile(desk: Desk) -> None:
    await desk.open()
    async with desk.pool.acquire() as first, first.transaction():
        held = await lock_subscription(first, SubscriptionId(SUBSCRIPTION))
        assert held is not None
        async with desk.pool.acquire() as second, second.transaction():
            waiting = asyncio.create_task(lock_subscription(second, SubscriptionId(SUBSCRIPTION)))
            await until_somebody_waits(desk)
            changed = [one.model_copy(update={"allocated": 7}) for one in held.state.products]
            await save_subscription(first, held, held.changed(desk.now, products=tuple(changed)))
            await first.execute("COMMIT; BEGIN")
            found = await waiting
    assert found is not None
    assert [one.allocated for one in found.state.products] == [7, 7]
    assert found.state.version == held.state.version + 1


async def until_somebody_waits(desk: Desk) -> None:
    """For a lock."""
    waits = """
    SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')
    """
    async with asyncio.timeout(20):
        while not await desk.pool.fetchval(waits):  # noqa: ASYNC110 - another connection
            await asyncio.sleep(0.01)
