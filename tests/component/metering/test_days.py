"""Usage by day and hour on a real PostgreSQL: measured and published."""

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import cast

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.metering.backfill import Backfill
from services.metering.handlers import publish_days
from services.metering.handlers.publish_days import DayRelay
from services.metering.handlers.publish_snapshots import Failed
from services.metering.store.projection import Projection
from shared.events.daily_usage import UsageDay, encode_day, read_day
from shared.events.envelope import by_type, decode
from shared.events.metering import DAILY_USAGE
from shared.runtime.postgres.pool import Connection
from shared.runtime.records import Outgoing
from tests.component.metering.test_apply_usage import apply
from tests.support.builders.metering import (
    NOW,
    START,
    SUBSCRIPTIONS,
    add_hours,
    event,
    measure_days,
    purge,
    records,
    reversal,
)
from tests.support.drivers.metering import Metering
from tests.support.drivers.metering_clients import payloads, until
from tests.support.fakes.poisoned_subscription import poisoned
from tests.support.servers.databases import connect

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


class Sent:
    """What a relay has sent, and what makes it fail."""

    def __init__(self) -> None:
        self.records: list[Outgoing] = []
        self.failures: list[Exception] = []
        self.failed: Failed = {}
        self.succeeded: set[int] = set()

    async def send(self, outgoing: Sequence[Outgoing]) -> None:
        """Take records as the broker does."""
        if self.failures:
            raise self.failures.pop()
        self.records.extend(outgoing)

    async def save_failed(self, failed: Failed, done: Collection[int]) -> int:
        """Take what failed."""
        self.failed, self.succeeded = dict(failed), set(done)
        return len(failed)

    def days(self) -> list[UsageDay]:
        """Return and forget what was sent."""
        found = [read_day(one.value or b"") for one in self.records]
        self.records.clear()
        assert all(found)
        return sorted((one for one in found if one), key=lambda one: (one.subscription, one.product, one.day))


def relay(connection: Connection, sent: Sent, now: datetime = NOW) -> DayRelay:
    """A relay whose rounds the test calls."""

    async def opened() -> Connection:
        return connection

    return DayRelay(
        opened,
        sent.send,
        lambda: now,
        Projection(),
        interval_seconds=0.01,
        usage_waits=lambda: False,
        save_failed=sent.save_failed,
    )


async def test_days_are_published_until_acknowledged(connection: Connection) -> None:
    sent = Sent()
    sent.failures.append(OSError("away"))
    one = relay(connection, sent)
    await apply(connection, records([event("a", "calls", "call", quantity=7), event("b", resource="x")]))
    assert await one.publish(connection) == 0, "no day is due before its hours are added"
    await add_hours(connection)
    with pytest.raises(OSError, match="away"):
        await one.publish(connection)
    assert await one.publish(connection) == 1
    assert await one.publish(connection) == 0
    calls, scan = sent.days()
    assert (calls.product, calls.aggregate, calls.revision, scan.aggregate) == ("calls", "7", 1, "1")
    assert (calls.day, calls.hours[0].hour, calls.as_of) == (NOW.date(), NOW.hour, NOW)

    await apply(connection, records([event("c", "calls", "call", quantity="0.5")], first=2))
    await add_hours(connection)
    assert await one.publish(connection) == 1
    (again,) = sent.days()
    assert (again.aggregate, again.revision) == ("7.5", 2)


async def test_a_day_is_published_again_with_its_revision_when_it_is_unchanged(connection: Connection) -> None:
    sent = Sent()
    await apply(connection, records([event("b", resource="x")]))
    await add_hours(connection)
    await relay(connection, sent).publish(connection)
    await apply(connection, records([event("c", resource="x")], first=1))
    await add_hours(connection)
    await relay(connection, sent, NOW + HOUR).publish(connection)
    assert [(one.revision, one.as_of) for one in sent.days()] == [(1, NOW), (1, NOW)]


async def test_a_day_that_lost_its_usage_is_published_as_0(connection: Connection) -> None:
    usage = event("a", "calls", "call", quantity=7)
    await apply(connection, records([usage]))
    assert [one.aggregate for one in await measure_days(connection)] == ["7"]
    await connection.execute("UPDATE usage SET reversed_at = now()")
    await connection.execute("DELETE FROM usage_hour")
    await connection.execute(
        "INSERT INTO day_due (subscriptions, meters, days)"
        " SELECT array_agg(subscription), array_agg(meter), array_agg(day) FROM measured_days"
    )
    (gone,) = await measure_days(connection)
    assert (gone.aggregate, gone.hours, gone.revision) == ("0", (), 2)
    await connection.execute(
        "INSERT INTO day_due (subscriptions, meters, days)"
        " SELECT array_agg(subscription), array_agg(meter), array_agg(day - interval '3 days') FROM measured_days"
    )
    assert not await measure_days(connection), "a day that never had usage stays unknown"


async def test_resources_of_the_next_day_are_counted_again_when_usage_is_late(connection: Connection) -> None:
    midnight = NOW.replace(hour=0)
    await apply(connection, records([event("a", resource="x", at=midnight + HOUR)]))
    (today,) = await measure_days(connection)
    assert today.hours[0].returning == ()
    await apply(connection, records([event("b", resource="x", at=midnight - HOUR)], first=1))
    yesterday, today = sorted(await measure_days(connection), key=lambda one: one.day)
    assert (yesterday.revision, today.revision) == (1, 2)
    assert today.hours[0].returning == ((2, 1),)
    assert today.aggregate == "1"


async def test_days_of_the_window_are_measured_again_when_a_resource_is_purged(metering_dsn: str) -> None:
    from tests.component.metering.test_corrections import settle  # noqa: PLC0415  # it defines how corrections settle

    async with connect(metering_dsn) as connection:
        at = [NOW - 2 * DAY, NOW - DAY]
        usage = [event(f"u-{n}", resource="x", at=when) for n, when in enumerate(at)]
        await apply(connection, records([*usage, event("y", resource="y", at=at[0])]))
        assert sorted(one.aggregate for one in await measure_days(connection)) == ["1", "2"]
        gone = purge("p", "x", at=NOW - HOUR)
        await apply(connection, records([gone], first=3))
        await settle(connection)
        assert sorted((one.aggregate, one.day) for one in await measure_days(connection) if one.revision > 1) == [
            ("0", at[1].date()),
            ("1", at[0].date()),
        ]
        await apply(connection, records([reversal("r", gone)], first=4))
        await settle(connection)
        back = [one for one in await measure_days(connection) if one.revision > 2]
        assert sorted(one.aggregate for one in back) == ["1", "2"]


async def test_other_days_are_published_when_those_of_a_subscription_fail(metering_dsn: str) -> None:
    sent = Sent()
    async with connect(metering_dsn) as connection:
        items = [event(f"a-{one.id}", resource="x", subject=one.id) for one in SUBSCRIPTIONS]
        await apply(connection, records(items))
        await add_hours(connection)
        bad = await connection.fetchval("SELECT number FROM subscription WHERE id = 'sub-2'")
        async with poisoned(metering_dsn, "measured_days", f"NEW.subscription = {bad}"):
            assert await relay(connection, sent).publish(connection) == 1
        assert [one.subscription for one in sent.days()] == ["sub-1", "sub-3"]
        assert list(sent.failed) == [bad]
        assert await relay(connection, sent).publish(connection) == 0, "it is postponed"
        assert await relay(connection, sent, NOW + publish_days.FAILED_DELAY).publish(connection) == 1
        assert [one.subscription for one in sent.days()] == ["sub-2"]
        assert sent.succeeded == {bad}


async def test_days_that_are_too_old_to_be_measured_are_passed_over(connection: Connection) -> None:
    await apply(connection, records([event("a", resource="x")]))
    await measure_days(connection)
    await connection.execute(
        "INSERT INTO day_due (subscriptions, meters, days)"
        " SELECT array_agg(subscription), array_agg(meter), array_agg(day) FROM measured_days"
    )
    assert not await measure_days(connection, NOW + 60 * DAY)
    assert await connection.fetchval("SELECT aggregate FROM measured_days") == 1


@asynccontextmanager
async def running(dsn: str, sent: Sent, waits: list[bool]) -> AsyncIterator[None]:
    """Run a relay with a connection of its own."""

    async def opened() -> Connection:
        return cast(Connection, await asyncpg.connect(dsn))

    one = DayRelay(
        opened,
        sent.send,
        lambda: NOW,
        Projection(),
        interval_seconds=0.01,
        usage_waits=lambda: waits[0],
        save_failed=sent.save_failed,
    )
    task = asyncio.create_task(one.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_days_wait_while_usage_does_and_one_process_publishes(metering_dsn: str) -> None:
    sent, waits = Sent(), [True]

    async def count() -> int:
        return len(sent.records)

    async with connect(metering_dsn) as connection, running(metering_dsn, sent, waits):
        await apply(connection, records([event("a", resource="x")]))
        await add_hours(connection)
        await until(count, lambda number: number == 1)
        await apply(connection, records([event("b", resource="y")], first=1))
        await add_hours(connection)
        other = Sent()
        async with running(metering_dsn, other, [False]):
            await asyncio.sleep(1)
            assert (len(sent.records), other.records) == (1, []), "usage waits, and the other has not got the lock"
            waits[0] = False
            await until(count, lambda number: number == 2)


@settings(max_examples=30, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(st.integers(0, 4 * 24), st.sampled_from("abc")), min_size=1, max_size=20))
async def test_days_do_not_depend_on_the_order_in_which_usage_arrives(
    connection: Connection, seen: list[tuple[int, str]]
) -> None:
    """Measured after each event, and once after all."""
    tables = "usage, usage_midnight, sighting, usage_hour, hour_due, meter_window, book, usage_position, day_due"
    items = [event(f"u-{n}", resource=name, at=NOW - hours * HOUR) for n, (hours, name) in enumerate(seen)]
    found = []
    for one_by_one in (True, False):
        await connection.execute(f"TRUNCATE {tables}, measured_days, snapshot_due")
        for n, item in enumerate(items):
            await apply(connection, records([item], first=n))
            if one_by_one:
                await measure_days(connection)
        await measure_days(connection)
        rows = await connection.fetch("SELECT day, aggregate, hours FROM measured_days ORDER BY day")
        found.append([tuple(row) for row in rows])
    assert found[0] == found[1]


async def test_the_days_of_a_backfill_are_published_while_it_is_loaded(connection: Connection) -> None:
    old = START + DAY
    loaded = Backfill(connection)
    for number in range(3):
        at = old + number * DAY
        item = event(f"u-{number}", "web", "app", at=at, quantity=number + 1, subject="sub-1")
        host = event(f"h-{number}", resource="x", at=at)
        values = [record.value or b"" for record in records([item, host], at=at)]
        outcome = await loaded.apply(at + HOUR, [("sub-1", value) for value in values])
        assert outcome.outcomes == ["applied", "applied"]
    rows = await connection.fetch("SELECT value FROM outbox WHERE topic = 'metering.usage' ORDER BY id")
    days = [read_day(row["value"]) for row in rows]
    assert [(one.product, one.day, one.aggregate) for one in days if one and one.product == "web"] == [
        ("web", (old + number * DAY).date(), str(number + 1)) for number in range(3)
    ]
    assert [one.hours[0].returning for one in days if one and one.product == "scan"] == [(), ((24, 1),), ((24, 1),)]


async def test_days_of_the_running_service_stay_due_while_a_backfill_is_loaded(connection: Connection) -> None:
    await apply(connection, records([event("live", resource="x")]))
    await add_hours(connection)
    at = START + DAY
    (record,) = records([event("old", resource="x", at=at)], at=at)
    await Backfill(connection).apply(at + HOUR, [("sub-1", record.value or b"")])
    assert [(one.day, one.aggregate) for one in await measure_days(connection)] == [(NOW.date(), "1")]


async def test_the_day_of_usage_that_is_ahead_is_published(connection: Connection) -> None:
    midnight = (NOW + DAY).replace(hour=0)
    now = midnight - timedelta(minutes=2)
    ahead = records([event("a", resource="x", at=midnight + timedelta(minutes=2))], at=now)
    await apply(connection, ahead)
    assert [one.day for one in await measure_days(connection, now)] == [midnight.date()]


def test_the_encoder_and_the_contract_agree() -> None:
    (payload,) = DAILY_USAGE
    day = UsageDay(
        subscription="sub-1",
        product="scan",
        meter="host",
        day=NOW.date(),
        aggregation="unique",
        aggregate="3",
        revision=2,
        as_of=datetime(2026, 11, 24, 10, 0, 0, 5, tzinfo=UTC),
        hours=(),
    )
    key, value = encode_day(day, NOW)
    event_ = decode(value, by_type([payload]))
    assert event_ is not None
    assert event_.data.key.encode() == key == b"sub-1|scan|host|2026-11-24"
    assert read_day(value) == day
    assert read_day(event_.encode()) == day
    assert event_.data.aggregate == Decimal(3)
    assert read_day(value.replace(b'"3"', b'"-3"')) is None


async def test_usage_is_published_by_day_within_seconds(metering: Metering) -> None:
    now = datetime.now(UTC)
    await metering.publish([event(f"live-{n}", resource=f"h-{n % 3}", at=now) for n in range(9)])

    async def published() -> list[UsageDay]:
        found = await payloads(metering.servers, f"{metering.prefix}metering.usage", DAILY_USAGE)
        return cast(list[UsageDay], found)

    days = await until(published, lambda found: any(one.aggregate == 3 for one in found))  # type: ignore[comparison-overlap]
    assert days[-1].hours[0].hour == now.hour
