"""Live changes: notifications of the transactions that change the read models."""

import asyncio
from contextlib import aclosing

from services.reporting.live_changes import Change
from tests.conftest import MakeDatabase
from tests.support.builders.published import account, alert, created, product, snapshot
from tests.support.drivers.reporting import ReportingDriver, reporting
from tests.support.servers.token_issuer import Issuer

SECONDS = 5


async def test_change_is_delivered_in_every_replica(database: MakeDatabase, shared_issuer: Issuer) -> None:
    dsn = await database("reporting")
    async with reporting(dsn, shared_issuer) as one, reporting(dsn, shared_issuer) as other:
        await one.apply(account(), product(), created())
        async with aclosing(other.application.live.changes("sub-1")) as changes:
            assert await anext(changes) == Change("sub-1", "missed")
            await one.measure(snapshot(1), snapshot(9, sub="sub-2"))
            received = await asyncio.wait_for(anext(changes), SECONDS)
            if received == Change(
                "sub-1", "subscription"
            ):  # its creation: the notification may arrive after the watch began
                received = await asyncio.wait_for(anext(changes), SECONDS)
            assert received == Change("sub-1", "consumption")
            await one.measure(snapshot(1))
            await one.apply(alert())
            assert await asyncio.wait_for(anext(changes), SECONDS) == Change("sub-1", "alert"), (
                "an unchanged state is not a change"
            )


async def test_watch_is_removed_when_its_iterator_is_closed(driver: ReportingDriver) -> None:
    live = driver.application.live
    changes = live.changes("sub-1")
    await anext(changes)
    await changes.aclose()
    live.apply_notification("subscription sub-1 alert")
    live.apply_notification("subscription")
    live.apply_notification("outcome 1")


async def test_notification_reaches_all_watchers_when_it_names_many_subscriptions(driver: ReportingDriver) -> None:
    live = driver.application.live
    async with aclosing(live.changes("sub-1")) as one, aclosing(live.changes("sub-2")) as other:
        await anext(one), await anext(other)
        live.apply_notification("consumption sub-0 sub-1 sub-2 sub-3")
        assert await anext(one) == Change("sub-1", "consumption")
        assert await anext(other) == Change("sub-2", "consumption")


async def test_consumption_is_delivered_when_its_subscriptions_exceed_one_notification(empty: ReportingDriver) -> None:
    names = [f"{'x' * 60}-{n}" for n in range(250)]
    watches = [empty.application.live.changes(name) for name in (names[0], names[-1])]
    for watch in watches:
        await anext(watch)
    await empty.measure(*(snapshot(1, sub=name) for name in names))
    for watch, name in zip(watches, (names[0], names[-1]), strict=True):
        assert await asyncio.wait_for(anext(watch), SECONDS) == Change(name, "consumption")
        await watch.aclose()
