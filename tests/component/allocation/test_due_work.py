"""Due changes without a command: on time, once, with replicas and crashes."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from services.allocation.handlers.due_work import DueWork
from services.allocation.store.due_work import find_next_due, find_oldest_due, update_due
from services.allocation.store.subscriptions import lock_subscription
from shared.events.commands.catalogue import RetireProduct
from shared.events.commands.subscriptions import CreateSubscription, PurchaseLot, RenewSubscription, SubscribeProduct
from shared.events.outcomes import SYSTEM
from shared.events.state import Person
from shared.runtime.delivery.batch_runner import transaction
from shared.runtime.delivery.transaction import Transaction
from tests.support.drivers.allocation import PRIMARY, START, VENDOR, AllocationDriver, snapshot

MONTH = timedelta(days=30)
MANY = 12


def worker(driver: AllocationDriver, *, dies: bool = False) -> DueWork:
    """Create the due work of one replica.

    With ``dies`` it fails just before a commit that publishes something.
    """

    @asynccontextmanager
    async def transactions() -> AsyncIterator[Transaction]:
        async with transaction(driver.pool, lambda: driver.now, "allocation") as tx:
            yield tx
            if dies and tx.pending:
                raise ConnectionError("died")

    return DueWork(transactions, poll_seconds=0.01)


async def many(driver: AllocationDriver) -> list[str]:
    """Create subscriptions whose term begins in a month; return their ids."""
    await driver.open(products=())
    names = [f"s-{n}" for n in range(MANY)]
    for name in names:
        await driver.sell(
            CreateSubscription(
                subscription=name,
                account="acme-flex-account",
                name=name,
                model="flex",
                start=START + MONTH,
                end=START + 2 * MONTH,
                primary_contact=Person(email=PRIMARY, name="Paula"),
            )
        )
        await driver.sell(PurchaseLot(subscription=name, lot="l-1", units=5, order_reference="PO"))
    return names


async def published_changes(driver: AllocationDriver) -> Counter[tuple[str, str]]:
    """Count published events of changes without a command, by subscription and type."""
    kinds = ("lot.started", "lot.ended", "lifecycle-changed", "over-allocated", "term.started", "product.ended")
    rows = await driver.pool.fetch(
        "SELECT convert_from(value, 'UTF8')::jsonb ->> 'type' AS type, convert_from(key, 'UTF8') AS key FROM outbox"
        " WHERE topic = 'allocation.events'"
    )
    return Counter((row["key"], row["type"]) for row in rows if any(kind in row["type"] for kind in kinds))


async def test_a_due_change_is_made_at_its_time_and_audited(driver: AllocationDriver) -> None:
    await many(driver)
    driver.now = START + MONTH - timedelta(microseconds=1)
    assert await worker(driver).settle_due() == 0
    driver.now = START + MONTH
    assert await worker(driver).settle_due() == MANY
    row = await driver.pool.fetchrow(
        "SELECT convert_from(value, 'UTF8')::jsonb -> 'data' -> 'record' AS record FROM outbox"
        " WHERE topic = 'audit.events' AND convert_from(value, 'UTF8') LIKE '%lifecycle-changed%' LIMIT 1"
    )
    assert row
    for part in (f'"actor": "{SYSTEM}"', '"action": "subscription.lifecycle-changed"', '"after": "active"'):
        assert part in row["record"]


async def test_due_changes_are_made_once_when_replicas_share_the_work(driver: AllocationDriver) -> None:
    names = await many(driver)
    driver.now = START + MONTH
    replicas = [worker(driver) for _ in range(4)]
    async with asyncio.timeout(60):
        while await driver.pool.fetchval("SELECT count(*) FROM due_work WHERE due_at <= $1", driver.now):
            await asyncio.gather(*(one.settle_due() for one in replicas))
    counted = await published_changes(driver)
    assert {key for key, _ in counted} == set(names)
    assert set(counted.values()) == {1}
    assert len(counted) == 2 * MANY


async def test_nothing_is_published_when_a_replica_dies_before_the_commit(driver: AllocationDriver) -> None:
    await many(driver)
    driver.now = START + 2 * MONTH
    for _ in range(3):
        with pytest.raises(ConnectionError):
            await worker(driver, dies=True).settle_due()
    assert await published_changes(driver) == Counter()
    await worker(driver).settle_due()
    counted = await published_changes(driver)
    assert counted["s-3", "unitpool.allocation.lot.started.v1"] == 1
    assert counted["s-3", "unitpool.allocation.subscription.lifecycle-changed.v1"] == 2


async def test_a_subscription_is_skipped_when_another_transaction_has_locked_it(driver: AllocationDriver) -> None:
    await many(driver)
    driver.now = START + MONTH
    async with driver.pool.acquire() as held, held.transaction():
        await held.execute("SELECT FROM subscriptions WHERE id = 's-0' FOR UPDATE")
        async with asyncio.timeout(20):
            assert await worker(driver).settle_due() == MANY - 1
    assert await worker(driver).settle_due() == 1


async def test_other_subscriptions_are_settled_when_one_cannot_be_loaded(driver: AllocationDriver) -> None:
    await many(driver)
    await driver.pool.execute("UPDATE subscriptions SET unit_label = ' ' WHERE id = 's-0'")
    driver.now = START + MONTH
    replica = worker(driver)
    assert await replica.settle_due() == MANY
    assert {key for key, _ in await published_changes(driver)} == {f"s-{n}" for n in range(1, MANY)}
    assert await replica.settle_due() == 0
    driver.now += timedelta(seconds=1)
    assert await replica.settle_due() == 1, "it is tried again and fails"
    driver.now += timedelta(seconds=1)
    assert await replica.settle_due() == 0, "it waits longer each time"
    await driver.pool.execute("UPDATE subscriptions SET unit_label = 'Units' WHERE id = 's-0'")
    driver.now += timedelta(seconds=1)
    assert await replica.settle_due() == 1
    assert {key for key, _ in await published_changes(driver)} == {f"s-{n}" for n in range(MANY)}


async def test_other_subscriptions_are_settled_when_the_due_row_of_one_is_locked(driver: AllocationDriver) -> None:
    await many(driver)
    driver.now = START + MONTH
    replica = worker(driver)
    async with driver.pool.acquire() as holds, holds.transaction():
        await holds.execute("SELECT FROM due_work WHERE subscription = 's-0' FOR UPDATE")
        assert await replica.settle_due() == MANY
        assert {key for key, _ in await published_changes(driver)} == {f"s-{n}" for n in range(1, MANY)}
    driver.now += timedelta(seconds=1)
    assert await replica.settle_due() == 1
    assert ("s-0", "unitpool.allocation.lot.started.v1") in await published_changes(driver)


async def test_due_changes_are_made_first_when_a_command_is_decided(driver: AllocationDriver) -> None:
    await driver.open(units=500)
    end = START + MONTH
    await driver.sell(PurchaseLot(subscription="acme-flex", lot="short", units=500, order_reference="PO-2", end=end))
    await driver.plan(scan=600)
    driver.now = end + timedelta(hours=1)
    refused = await driver.plan(scan=700)
    assert (refused.code, refused.events, len(refused.audit)) == ("over_allocated", [], 1)
    cured = await driver.plan(scan=500)
    assert [type(one).__name__ for one in cured.events] == ["LotEnded", "PoolOverAllocated", "PlanApplied"]
    assert [one.actor for one in cured.audit] == [SYSTEM, SYSTEM, await driver.id_of(PRIMARY, "acme-flex")]
    versions = [one.subscription.version for one in cured.events]
    assert versions == [versions[0], versions[0], versions[0] + 1]
    assert await driver.settle_due() == []


async def test_a_change_is_made_in_time_when_a_command_brings_its_due_time_forward(driver: AllocationDriver) -> None:
    await driver.open(units=500)
    end = START + MONTH
    await driver.sell(PurchaseLot(subscription="acme-flex", lot="short", units=500, order_reference="PO-2", end=end))
    driver.now = end
    soon = end + timedelta(hours=1)
    bought = await driver.sell(
        PurchaseLot(subscription="acme-flex", lot="soon", units=5, order_reference="PO-3", start=soon)
    )
    assert [type(one).__name__ for one in bought.events] == ["LotEnded", "LotPurchased"]
    driver.now = soon
    assert [one.lot for one in await driver.settle_due()] == ["soon"]


async def test_an_event_names_its_actor_only_when_a_person_caused_it(driver: AllocationDriver) -> None:
    await driver.open(units=500)
    end = START + MONTH
    await driver.sell(PurchaseLot(subscription="acme-flex", lot="short", units=500, order_reference="PO-2", end=end))
    driver.now = end
    await driver.plan(scan=5)
    rows = await driver.pool.fetch(
        "SELECT convert_from(value, 'UTF8')::jsonb AS event FROM outbox WHERE topic = 'allocation.events' ORDER BY id"
    )
    ended, applied = (row["event"] for row in rows[-3:-1])
    assert '"actor"' not in ended
    paula = await driver.id_of(PRIMARY, "acme-flex")
    assert f'"actor": "{paula}"' in applied


async def test_consumption_marks_a_subscription_only_when_its_state_would_change(driver: AllocationDriver) -> None:
    await driver.open()
    await driver.plan(scan=600, hub=400)

    async def due() -> Any:
        async with driver.pool.acquire() as connection:
            return await find_next_due(connection, driver.now, 10)

    await driver.measure(snapshot("scan", 600), snapshot("hub", 399))
    assert await due() == []
    await driver.measure(snapshot("hub", 400, revision=2))
    assert await due() == ["acme-flex"]
    (exhausted,) = await driver.settle_due()
    assert (exhausted.before, exhausted.after) == ("active", "exhausted")
    await driver.measure(snapshot("hub", 430, revision=3))
    assert await due() == []
    await driver.measure(snapshot("scan", 661, revision=2))
    assert await due() == ["acme-flex"]
    assert await driver.settle_due() == []
    assert await driver.pool.fetchval("SELECT over_since FROM allocations WHERE product = 'scan'") == driver.now
    await driver.measure(snapshot("scan", 700, revision=3))
    assert await due() == []
    await driver.measure(
        snapshot("scan", 10, revision=4), snapshot("other", 5), snapshot("scan", 5, subscription="none")
    )
    (again,) = await driver.settle_due()
    assert (again.before, again.after) == ("exhausted", "active")


async def test_a_mark_is_not_lost_when_it_is_set_while_the_subscription_is_settled(driver: AllocationDriver) -> None:
    await driver.open()
    await driver.plan(scan=1000)
    await driver.measure(snapshot("scan", 1000))
    async with driver.pool.acquire() as connection:
        looked_at = await lock_subscription(connection, "acme-flex")  # type: ignore[arg-type]
        assert looked_at
        await driver.measure(snapshot("scan", 1200, revision=2))
        await update_due(connection, looked_at, START + MONTH)
        assert await find_oldest_due(connection) == driver.now
        (exhausted,) = await driver.settle_due()
        assert exhausted.after == "exhausted"


async def test_all_subscriptions_get_their_units_back_when_a_product_is_retired(driver: AllocationDriver) -> None:
    for name in ("acme-flex", "globex-flex", "initech-flex"):
        await driver.open(subscription=name)
    for name in ("acme-flex", "globex-flex"):
        await driver.plan(name, scan=400, hub=300)
        await driver.plan(name, scan=300)
    retired = await driver.sell(RetireProduct(product="scan"))
    assert [type(one).__name__ for one in retired.events] == ["ProductRetired"]
    ended = await driver.settle_due()
    assert {(one.subscription.id, one.because, one.returned) for one in ended} == {
        ("acme-flex", "retired", 300),
        ("globex-flex", "retired", 300),
        ("initech-flex", "retired", 0),
    }
    for one in ended:
        state = one.subscription
        assert [(product.product, product.allocated) for product in state.active_products] == [
            ("hub", 300 if one.returned else 0)
        ]
        assert state.rebalance.last_at == (START if one.returned else None)
    assert (await driver.plan(hub=1000)).code == "accepted"
    assert (await driver.plan(scan=1)).code == "product_not_subscribed"
    again = SubscribeProduct(subscription="acme-flex", product="scan")
    assert (await driver.ask(again, VENDOR, vendor=True)).code == "product_retired"
    assert (await driver.sell(RetireProduct(product="scan"))).events == []
    assert await driver.settle_due() == []


async def test_a_renewed_term_begins_without_a_command(driver: AllocationDriver) -> None:
    await driver.open(days=30)
    await driver.plan(scan=800)
    end = START + MONTH
    await driver.sell(
        RenewSubscription(
            subscription="acme-flex", end=end + MONTH, units=700, order_reference="PO-9", lot="l-9", lock_rates=True
        )
    )
    driver.now = end
    events = await driver.settle_due()
    assert [type(one).__name__ for one in events] == ["TermStarted", "LotEnded", "LotStarted", "PoolOverAllocated"]
    state = events[0].subscription
    assert (state.term.start, state.term.end, state.term.rates_locked_at) == (end, end + MONTH, START)
    assert (await driver.plan(scan=700)).events[0].starts_clock is False


async def test_a_command_makes_due_changes_when_due_work_is_suspended(driver: AllocationDriver) -> None:
    """Backdated commands suspend the due work of the running service."""
    await driver.open(units=500)
    end = START + MONTH
    await driver.sell(PurchaseLot(subscription="acme-flex", lot="short", units=500, order_reference="PO-2", end=end))
    await driver.plan(scan=600)
    await driver.pool.execute("UPDATE due_work SET due_at = NULL")
    driver.now = end
    assert await driver.settle_due() == []
    cured = await driver.plan(scan=500)
    assert [type(one).__name__ for one in cured.events] == ["LotEnded", "PoolOverAllocated", "PlanApplied"]


async def test_a_term_begins_at_the_end_of_the_old_one_when_it_is_sold_in_grace(driver: AllocationDriver) -> None:
    await driver.open(days=30)
    await driver.plan(scan=400)
    end = START + MONTH
    driver.now = end + timedelta(days=10, minutes=7)
    renewal = RenewSubscription(
        subscription="acme-flex", end=end + 12 * MONTH, units=600, order_reference="PO-2", lot="second"
    )
    sold = await driver.sell(renewal)
    assert [type(one).__name__ for one in sold.events] == [
        "LifecycleChanged",
        "SubscriptionRenewed",
        "TermStarted",
        "LotEnded",
        "LotStarted",
        "LifecycleChanged",
    ]
    state = sold.events[-1].subscription
    assert (state.state, state.term.start, state.purchased(driver.now), state.allocated) == ("active", end, 600, 400)
    assert (await driver.plan(scan=500)).outcome.accepted
    assert await driver.settle_due() == []
