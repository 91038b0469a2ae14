"""Statements of alerts' store, and the fair claiming of due deliveries by workers."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import asyncpg
import pytest

from services.alerts.store import alerts, catalogue, channels, deliveries, watches
from services.alerts.store.channels import NewSecrets
from services.alerts.store.deliveries import (
    Delivery,
    NewDelivery,
    Shares,
    claim_deliveries,
    find_due,
    insert_deliveries,
    settle_delivery,
)
from services.alerts.store.watches import lock_watches, save_watches
from shared.events.alerts import ChannelState
from shared.events.ids import SubscriptionId
from shared.runtime.delivery import set_aside_work, set_aside_work_retries
from shared.runtime.postgres.pool import Connection
from tests.conftest import MakeDatabase
from tests.support.builders.alerts import ACME, NOW, WatchDriver, subscription
from tests.support.servers.databases import connect

MODULES = (alerts, catalogue, channels, deliveries, watches, set_aside_work, set_aside_work_retries)


def _statements() -> dict[str, str]:
    return {
        f"{module.__name__}.{name}": value
        for module in MODULES
        for name, value in vars(module).items()
        if name.startswith("_") and name.isupper() and isinstance(value, str)
    }


async def test_every_statement_can_be_prepared(database: MakeDatabase) -> None:
    assert len(_statements()) > 20
    async with connect(await database("alerts")) as connection:
        for name, statement in _statements().items():
            try:
                await connection.prepare(statement)
            except asyncpg.PostgresError as error:
                pytest.fail(f"{name}: {error}")


async def test_a_watch_is_equal_when_loaded_after_saving(database: MakeDatabase) -> None:
    driver = WatchDriver(subscription(purchased=1500))
    driver.consume(950)
    async with connect(await database("alerts")) as connection, connection.transaction():
        before = await lock_watches(connection, [ACME])
        await alerts.upsert_alerts(connection, driver.watch.alerts)
        await save_watches(connection, before, [driver.watch], NOW)
        loaded = (await lock_watches(connection, [ACME]))[ACME]
        assert loaded.subscription == driver.watch.subscription
        assert loaded.levels == driver.watch.levels
        assert loaded.readings == driver.watch.readings
        assert (loaded.window_start, loaded.next_check_at) == (driver.watch.window_start, driver.watch.next_check_at)
        assert sorted(loaded.alerts, key=lambda a: a.id) == sorted(driver.watch.alerts, key=lambda a: a.id)


async def test_a_delivery_is_claimed_by_one_worker_until_its_lease_expires(database: MakeDatabase) -> None:
    dsn = await database("alerts")
    now = datetime.now(UTC)
    driver = WatchDriver(subscription())
    (alert,) = driver.consume(950).raised
    async with connect(dsn) as connection, connect(dsn) as other:
        async with connection.transaction():
            await lock_watches(connection, [ACME])
            await alerts.upsert_alerts(connection, [alert])
            for number in range(20):
                channel = ChannelState(
                    id=f"c-{number}",
                    subscription=ACME,
                    kind="webhook",
                    url="https://x.example",
                    created_by="p",
                    created_at=now,
                    version=1,
                )
                await channels.insert_channel(connection, channel, NewSecrets("sealed", "sealed"), f"a-{number % 2}")
            new = [NewDelivery(f"d-{number}", alert.id, f"c-{number}") for number in range(20)]
            await insert_deliveries(connection, [*new, *new], now)
        mine, theirs = await asyncio.gather(_claim(connection, now, 15), _claim(other, now, 15))
        assert len(mine) + len(theirs) == 20
        assert not {d.id for d in mine} & {d.id for d in theirs}
        assert await _claim(other, now, 99) == []
        later = now + timedelta(seconds=31)
        again = await _claim(other, later, 99)
        assert len(again) == 20
        assert {d.attempts for d in again} == {2}
        assert not await settle_delivery(connection, mine[0], "delivered", now, None)
        assert await settle_delivery(other, again[0], "delivered", now, None)


async def _claim(connection: Connection, now: datetime, free: int, **shares: int) -> list[Delivery]:
    """Claim due deliveries for 30 seconds, as one worker does."""
    async with connection.transaction():
        due = await find_due(
            connection, now, Shares(**{"channel": 4, "customer": 64, "free": free, "reserved": 0, **shares})
        )
        ids = [one.id for one in due]
        return await claim_deliveries(connection, ids, lease=str(uuid4()), until=now + timedelta(seconds=30))


@dataclass
class Customers:
    """Channels of several customers, with deliveries that are due."""

    connection: Connection
    now: datetime
    alerts: int = 0

    async def add_due(self, account: str, channel: str, count: int) -> None:
        """Insert ``count`` due deliveries of a customer to one channel."""
        subscription_of = SubscriptionId(f"{account}-flex")
        (alert,) = WatchDriver(subscription()).consume(950).raised
        async with self.connection.transaction():
            await lock_watches(self.connection, [subscription_of])
            state = ChannelState(
                id=channel,
                subscription=subscription_of,
                kind="webhook",
                url="https://x.example",
                created_by="p",
                created_at=self.now,
                version=1,
            )
            await channels.insert_channel(self.connection, state, NewSecrets("sealed", "sealed"), account)
            made = [
                alert.model_copy(update={"id": f"a-{self.alerts + n}", "subscription": subscription_of})
                for n in range(count)
            ]
            self.alerts += count
            await alerts.upsert_alerts(self.connection, made)
            new = [NewDelivery(f"d-{one.id}", one.id, channel) for one in made]
            await insert_deliveries(self.connection, new, self.now)

    async def claim(self, free: int, **shares: int) -> Counter[tuple[str, str]]:
        """Claim with ``free`` free slots; return the number by customer and channel."""
        return Counter((one.account, one.channel) for one in await _claim(self.connection, self.now, free, **shares))


@pytest.fixture
async def customers(database: MakeDatabase) -> AsyncIterator[Customers]:
    async with connect(await database("alerts")) as connection:
        yield Customers(connection, datetime.now(UTC))


async def test_a_channel_has_at_most_its_share_in_flight(customers: Customers) -> None:
    await customers.add_due("acme", "c-1", 10)
    assert await customers.claim(99) == {("acme", "c-1"): 4}
    assert await customers.claim(99) == {}
    await customers.add_due("acme", "c-2", 1)
    assert await customers.claim(99) == {("acme", "c-2"): 1}


async def test_every_channel_of_a_customer_has_a_slot_before_any_has_two(customers: Customers) -> None:
    for number in range(10):
        await customers.add_due("acme", f"c-{number}", 9)
    assert set((await customers.claim(99, customer=12)).values()) == {1, 2}
    await customers.add_due("acme", "c-healthy", 3)
    assert await customers.claim(99, customer=13) == {("acme", "c-healthy"): 1}


async def test_a_customer_has_at_most_its_share_when_it_has_many_due(customers: Customers) -> None:
    for number in range(40):
        await customers.add_due("acme", f"c-{number}", 4)
    assert sum((await customers.claim(256)).values()) == 64
    await customers.add_due("beta", "c-b", 1)
    assert await customers.claim(192) == {("beta", "c-b"): 1}


async def test_the_reserved_slots_are_for_customers_with_nothing_in_flight(customers: Customers) -> None:
    for number in range(4):
        await customers.add_due("acme", f"c-{number}", 4)
    assert sum((await customers.claim(8, reserved=2)).values()) == 6
    assert await customers.claim(2, reserved=2) == {}
    await customers.add_due("beta", "c-b", 4)
    assert await customers.claim(2, reserved=2) == {("beta", "c-b"): 1}
    assert await customers.claim(1, reserved=2) == {}
    await customers.add_due("gamma", "c-g", 4)
    assert await customers.claim(1, reserved=2) == {("gamma", "c-g"): 1}


async def test_a_new_customer_comes_first_when_another_has_many_due(customers: Customers) -> None:
    for number in range(10):
        await customers.add_due("acme", f"c-{number}", 4)
    await customers.add_due("beta", "c-b", 2)
    claimed = await customers.claim(4)
    assert claimed["beta", "c-b"] == 2
    assert claimed.total() == 4
