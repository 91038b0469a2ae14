"""Every statement fits the migrated schema; what is due is taken by one worker only."""

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from services.alerts.store import alerts, catalogue, channels, deliveries, watches
from services.alerts.store.deliveries import NewDelivery, claim_deliveries, insert_deliveries, settle_delivery
from services.alerts.store.watches import lock_watches, save_watches
from shared.events.alerts import ChannelState
from tests.conftest import MakeDatabase
from tests.database import connect
from tests.unit.alerts.world import ACME, NOW, Story, subscription

MODULES = (alerts, catalogue, channels, deliveries, watches)


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


async def test_a_watch_is_loaded_as_it_was_saved(database: MakeDatabase) -> None:
    story = Story(subscription(purchased=1500))
    story.consumes(950)
    async with connect(await database("alerts")) as connection, connection.transaction():
        before = await lock_watches(connection, [ACME])
        await alerts.upsert_alerts(connection, story.watch.alerts)
        await save_watches(connection, before, [story.watch], NOW)
        loaded = (await lock_watches(connection, [ACME]))[ACME]
        assert loaded.subscription == story.watch.subscription
        assert loaded.levels == story.watch.levels
        assert loaded.readings == story.watch.readings
        assert (loaded.window_start, loaded.next_check_at) == (story.watch.window_start, story.watch.next_check_at)
        assert sorted(loaded.alerts, key=lambda a: a.id) == sorted(story.watch.alerts, key=lambda a: a.id)


async def test_a_delivery_is_taken_by_one_worker_and_comes_back_when_that_dies(database: MakeDatabase) -> None:
    dsn = await database("alerts")
    now = datetime.now(UTC)
    story = Story(subscription())
    (alert,) = story.consumes(950).raised
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
                await channels.insert_channel(connection, channel, "sealed")
            new = [NewDelivery(f"d-{number}", alert.id, f"c-{number}") for number in range(20)]
            await insert_deliveries(connection, [*new, *new], now)
        lease_for = timedelta(seconds=30)
        mine, theirs = await asyncio.gather(
            claim_deliveries(connection, now, limit=15, lease="a", lease_for=lease_for),
            claim_deliveries(other, now, limit=15, lease="b", lease_for=lease_for),
        )
        assert len(mine) + len(theirs) == 20
        assert not {d.id for d in mine} & {d.id for d in theirs}
        assert await claim_deliveries(other, now, limit=99, lease="c", lease_for=lease_for) == []
        later = now + timedelta(seconds=31)
        again = await claim_deliveries(other, later, limit=99, lease="d", lease_for=lease_for)
        assert len(again) == 20
        assert {d.attempts for d in again} == {2}
        assert not await settle_delivery(connection, mine[0], "delivered", now, None)
        assert await settle_delivery(other, again[0], "delivered", now, None)
