"""The live stream: told by the transactions that change what is shown."""

import asyncio
from contextlib import aclosing

from services.reporting.live import Change
from tests.component.reporting.issuer import Issuer
from tests.component.reporting.states import account, alert, created, product, snapshot
from tests.component.reporting.world import World, reporting
from tests.conftest import MakeDatabase

SECONDS = 5


async def test_change_is_told_in_every_replica(database: MakeDatabase, shared_issuer: Issuer) -> None:
    dsn = await database("reporting")
    async with reporting(dsn, shared_issuer) as one, reporting(dsn, shared_issuer) as other:
        await one.apply(account(), product(), created())
        async with aclosing(other.application.live.changes("sub-1")) as changes:
            assert await anext(changes) == Change("sub-1", "missed")
            await one.measure(snapshot(1), snapshot(9, sub="sub-2"))
            told = await asyncio.wait_for(anext(changes), SECONDS)
            if told == Change("sub-1", "subscription"):  # of its creation: the notice may arrive after the watch began
                told = await asyncio.wait_for(anext(changes), SECONDS)
            assert told == Change("sub-1", "consumption")
            await one.measure(snapshot(1))
            await one.apply(alert())
            assert await asyncio.wait_for(anext(changes), SECONDS) == Change("sub-1", "alert"), "no news is not told"


async def test_stream_ends_when_its_watcher_is_closed(world: World) -> None:
    live = world.application.live
    changes = live.changes("sub-1")
    await anext(changes)
    await changes.aclose()
    live.hear("subscription sub-1 alert")
    live.hear("subscription")
    live.hear("outcome 1")
