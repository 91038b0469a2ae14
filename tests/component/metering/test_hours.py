"""Usage by hour on a real PostgreSQL: added in batches, merged into days when old."""

import asyncio
from datetime import timedelta

import pytest

from services.metering.domain.catalogue import Catalogue
from services.metering.handlers.upkeep import maintain_partitions
from services.metering.store import hours, partitions
from shared.runtime.postgres.pool import Connection
from tests.component.metering.test_apply_usage import apply
from tests.support.builders.metering import NOW, add_hours, event, records
from tests.support.servers.databases import connect


async def test_hours_become_days_when_they_are_old(connection: Connection) -> None:
    old = NOW - timedelta(days=50)
    items = [
        event(f"c-{n}", "calls", "call", at=old + timedelta(hours=n), quantity=n, subject="sub-1") for n in range(30)
    ]
    await apply(connection, records(items, at=old + timedelta(days=2)))
    expected = await connection.fetch("SELECT day, events, total, peak FROM daily_usage ORDER BY day")
    assert [(row["events"], row["peak"]) for row in expected] == [(14, 13), (16, 29)]
    await add_hours(connection)
    await maintain_partitions(connection, Catalogue(), NOW + timedelta(days=9))
    assert await connection.fetchval("SELECT count(*) FROM usage_hour") == 0
    assert await connection.fetchval("SELECT count(*) FROM usage_day") == 2
    assert await connection.fetch("SELECT day, events, total, peak FROM daily_usage ORDER BY day") == expected
    replayed = event("replayed", "calls", "call", at=old, quantity=50)
    await apply(connection, records([replayed], first=30, at=old))
    await add_hours(connection)
    await maintain_partitions(connection, Catalogue(), NOW + timedelta(days=9))
    row = await connection.fetchrow("SELECT events, total, peak FROM usage_day ORDER BY day LIMIT 1")
    assert row
    assert tuple(row) == (15, expected[0]["total"] + 50, 50), "later usage is added"
    await maintain_partitions(connection, Catalogue(), NOW + timedelta(days=480))
    assert await connection.fetchval("SELECT count(*) FROM daily_usage") == 0


async def test_hours_are_shown_before_and_added_once_when_several_processes_add(metering_dsn: str) -> None:
    items = [event(f"c-{n}", "calls", "call", at=NOW - timedelta(hours=n % 3), quantity=n) for n in range(90)]
    async with connect(metering_dsn) as own, connect(metering_dsn) as other:
        for start in range(0, len(items), 6):
            await apply(own, records(items[start : start + 6], first=start))
        shown = "SELECT hour, events, total, peak FROM hourly_usage ORDER BY hour"
        before = await own.fetch(shown)
        assert [(row["events"], row["peak"]) for row in before] == [(30, 89), (30, 88), (30, 87)]
        assert await own.fetchval("SELECT count(*) FROM usage_hour") == 0
        await asyncio.gather(add_hours(own), add_hours(other))
        assert await own.fetchval("SELECT count(*) FROM hour_due") == 0
        assert await own.fetch("SELECT hour, events, total, peak FROM usage_hour ORDER BY hour") == before
        assert await own.fetch(shown) == before


async def test_hours_are_added_many_batches_at_a_time(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hours, "AT_ONCE", 4)
    for n in range(9):
        await apply(connection, records([event(f"c-{n}", "calls", "call", quantity=n)], first=n))
    async with connection.transaction():
        assert [await hours.add_due_batches(connection) for _ in range(4)] == [4, 4, 1, 0]
    await apply(connection, records([event("c-9", "calls", "call", quantity=9)], first=9))
    await add_hours(connection)
    row = await connection.fetchrow("SELECT events, total, peak FROM usage_hour")
    assert row
    assert tuple(row) == (10, 45, 9)


async def test_hours_are_added_and_become_days_later_when_their_partition_was_dropped(connection: Connection) -> None:
    old = NOW - timedelta(days=50)
    await apply(connection, records([event("c-1", "calls", "call", at=old, quantity=5)], at=old))
    there = [one for one in await partitions.load_partitions(connection) if one.kind is partitions.HOURS]
    for one in there:
        assert await partitions.drop_partition(connection, one)
    await add_hours(connection)
    assert await connection.fetchval("SELECT total FROM usage_hour") == 5
    await maintain_partitions(connection, Catalogue(), NOW + timedelta(days=9))
    assert await connection.fetchval("SELECT total FROM usage_day") == 5
