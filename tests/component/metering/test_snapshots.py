"""Due snapshots and their publication, on a real PostgreSQL."""

import asyncio
import time
from datetime import timedelta
from decimal import Decimal
from typing import cast

import asyncpg
import pytest

from services.metering.handlers.publish_snapshots import REST_FACTOR, SnapshotRelay
from services.metering.store import consumption
from services.metering.store.projection import Projection
from shared.events.envelope import by_type, decode
from shared.events.metering import CONSUMPTION
from shared.runtime.postgres.pool import Connection
from shared.runtime.records import Outgoing
from tests.component.metering.test_apply_usage import apply
from tests.support.builders.metering import NOW, event, records
from tests.support.drivers.metering_clients import until
from tests.support.servers.databases import connect

WORK_SECONDS = 0.5


async def test_snapshots_are_published_until_acknowledged(connection: Connection) -> None:
    sent: list[Outgoing] = []
    failures = [OSError("away")]

    async def send(outgoing: list[Outgoing]) -> None:
        sent.extend(outgoing)
        if failures:
            raise failures.pop()

    async def opened() -> Connection:
        return connection

    relay = SnapshotRelay(opened, send, lambda: NOW, Projection(), interval_seconds=0)
    await apply(connection, records([event("a", "calls", "call", quantity=7), event("b", resource="x")]))
    with pytest.raises(OSError, match="away"):
        await relay.publish(connection)
    assert await relay.publish(connection) == 2
    assert await relay.publish(connection) == 0
    await apply(connection, records([event("c", "calls", "call", at=NOW - timedelta(days=20))], first=5))
    sent.clear()
    assert await relay.publish(connection) == 2, "a change in an earlier window reaches the later ones of the term"
    events = [decode(one.value or b"", by_type(CONSUMPTION)) for one in sent]
    assert [one.data.meters[0].aggregate for one in events if one] == [Decimal(1), Decimal(8)]


async def test_no_snapshot_is_due_when_a_level_is_unchanged(connection: Connection) -> None:
    await apply(connection, records([event("a", resource="x"), event("b", "web", "app", quantity=5)]))
    await connection.execute("TRUNCATE snapshot_due")
    await apply(connection, records([event("c", resource="x"), event("d", "web", "app", quantity=4)], first=2))
    assert await connection.fetchval("SELECT count(*) FROM snapshot_due") == 0
    later = records(
        [event("e", resource="x"), event("f", "web", "app", quantity=4)], first=4, at=NOW + timedelta(minutes=2)
    )
    await apply(connection, later)
    due = await connection.fetchval("SELECT sum(cardinality(windows)) FROM snapshot_due")
    assert due == 2, "as_of follows after a minute"


async def test_due_rows_are_taken_together_up_to_a_bound_when_they_repeat_windows(connection: Connection) -> None:
    await connection.execute("TRUNCATE snapshot_due")
    await connection.execute(
        "INSERT INTO snapshot_due (subscriptions, meters, windows)"
        " SELECT '{1,2,3}'::int[], '{1,1,1}'::int[], array_fill($1::timestamptz, '{3}') FROM generate_series(1, 5)",
        NOW,
    )
    ids = [row["id"] for row in await connection.fetch("SELECT id FROM snapshot_due ORDER BY id")]
    assert await consumption.load_due(connection, 10, 100, NOW) == consumption.Due(
        ids, {(n, 1, NOW) for n in (1, 2, 3)}
    )
    assert (await consumption.load_due(connection, 4, 100, NOW)).ids == ids[:4], "at most this number of rows"
    assert (await consumption.load_due(connection, 10, 7, NOW)).ids == ids[:3], "until seven windows are reached"
    assert (await consumption.load_due(connection, 10, 1, NOW)).ids == ids[:1], "one at least"


async def test_the_pause_between_snapshots_ends_when_the_backlog_does(metering_dsn: str) -> None:
    began: list[float] = []
    backlog = [True]

    async def slowly(_: list[Outgoing]) -> None:
        began.append(time.monotonic())
        await asyncio.sleep(WORK_SECONDS)

    async def opened() -> Connection:
        return cast(Connection, await asyncpg.connect(metering_dsn))

    async def rounds() -> int:
        return len(began)

    relay = SnapshotRelay(
        opened, slowly, lambda: NOW, Projection(), interval_seconds=0.01, usage_waits=lambda: backlog[0]
    )
    async with connect(metering_dsn) as connection:
        await apply(connection, records([event("a", resource="x")]))
        running = asyncio.create_task(relay.run())
        try:
            await until(rounds, lambda count: count == 1)
            await apply(connection, records([event("b", resource="y")], first=1))
            await asyncio.sleep(2 * WORK_SECONDS)
            assert len(began) == 1, "work is followed by a rest while there is a backlog"
            backlog[0] = False
            await until(rounds, lambda count: count == 2)
            assert began[1] - began[0] < (1 + REST_FACTOR) * WORK_SECONDS, "the rest ended with the backlog"
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
