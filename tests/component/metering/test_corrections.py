"""Reversals and purges on a real PostgreSQL: one effect, in any order."""

import asyncio
import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import count, islice, permutations
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.metering.handlers.apply_corrections import apply_due_corrections
from services.metering.handlers.apply_usage import UsageApplier
from services.metering.handlers.publish_snapshots import load_terms
from services.metering.handlers.retry_quarantine import replay_range
from services.metering.store.projection import Projection
from shared.events.daily_usage import read_hours
from shared.events.envelope import by_type, decode
from shared.events.outcomes import DecisionRecorded
from shared.runtime.delivery.transaction import Transaction
from shared.runtime.postgres.pool import Connection
from tests.component.metering.test_apply_usage import books, stored
from tests.support.builders.metering import (
    NOW,
    PRODUCTS,
    SUBSCRIPTIONS,
    add_hours,
    event,
    measure_days,
    purge,
    records,
    reversal,
)
from tests.support.drivers.metering_clients import until
from tests.support.drivers.transactions import transaction
from tests.support.references import usage as reference
from tests.support.servers.databases import connect

TABLES = (
    "usage, usage_midnight, sighting, usage_hour, hour_due, meter_window, snapshot_due, book, quarantine,"
    " usage_position, correction, correction_woken, restating, restatement, outbox, measured_days, day_due"
)
LONG_AGO = NOW - timedelta(days=400)
HOURS = """
SELECT s.id AS subscription, m.product, m.id AS meter, h.hour, h.events, h.total, h.peak
FROM usage_hour h JOIN subscription s ON s.number = h.subscription JOIN meter m ON m.number = h.meter
"""
DAYS = """
SELECT s.id AS subscription, m.product, m.id AS meter, d.day, d.aggregate, d.hours
FROM measured_days d JOIN subscription s ON s.number = d.subscription JOIN meter m ON m.number = d.meter
"""
SIGHTINGS = """
SELECT s.id AS subscription, m.product, m.id AS meter, g.window_start, g.resource
FROM sighting g JOIN subscription s ON s.number = g.subscription JOIN meter m ON m.number = g.meter
"""


async def apply(connection: Connection, items: Sequence[Any], first: int = 0, at: datetime = NOW) -> None:
    applier = UsageApplier()
    async with transaction(connection, at) as tx:
        await applier.apply(tx, records(items, first=first, at=at))


async def correct(connection: Connection, now: datetime, *, projection: Projection | None = None) -> int:
    async with connection.transaction():
        tx = Transaction(connection, now, service="metering")
        checked = await apply_due_corrections(tx, projection or Projection(), 100)
        await tx.flush()
    return checked


async def settle(connection: Connection) -> None:
    """Apply corrections until only reversals without a target are left.

    A recheck waits for every transaction of the server, those of other databases too.
    """

    passing = count()

    async def is_rechecked() -> bool:
        for hour in islice(passing, 6):
            while await correct(connection, NOW + timedelta(hours=hour, seconds=5)):
                pass
        return not await connection.fetchval("SELECT EXISTS (SELECT FROM correction WHERE looks_from IS NOT NULL)")

    await until(is_rechecked, bool)


async def figures(connection: Connection) -> reference.Figures:
    return {key: figure for key, figure in (await stored(connection)).items() if figure != reference.NOTHING}


async def hours(connection: Connection) -> dict[Any, tuple[int, Decimal, Decimal]]:
    await add_hours(connection)
    return {tuple(row)[:4]: tuple(row)[4:] for row in await connection.fetch(HOURS)}


async def days(connection: Connection) -> reference.Days:
    await measure_days(connection)
    found: reference.Days = {}
    for row in await connection.fetch(DAYS):
        by_hour = {one.hour: Decimal(one.aggregate) for one in read_hours(row["hours"])}
        if by_hour:
            found[(row["subscription"], row["product"], row["meter"], row["day"].date())] = (row["aggregate"], by_hour)
    return found


async def resources(connection: Connection) -> dict[Any, set[str]]:
    found: dict[Any, set[str]] = {}
    for row in await connection.fetch(SIGHTINGS):
        found.setdefault(tuple(row)[:4], set()).add(row["resource"])
    return found


async def assert_equals_the_reference(connection: Connection, events: Sequence[dict[str, Any]]) -> None:
    assert await figures(connection) == reference.aggregates(events)
    assert await hours(connection) == reference.hours(events)
    assert await days(connection) == reference.days(events)
    assert await resources(connection) == reference.resources(events)
    await assert_units(connection, reference.aggregates(events))


async def assert_units(connection: Connection, wanted: reference.Figures) -> None:
    """Assert the units in snapshots of every window of a product."""
    projection = Projection()
    await projection.refresh(connection)
    catalogue = projection.catalogue
    for state in SUBSCRIPTIONS:
        number = catalogue.subscriptions[state.id].number
        for product in {key[1] for key in wanted if key[0] == state.id}:
            for one in await load_terms(connection, catalogue, [((number, product), LONG_AGO)]):
                for meter in one.meters:
                    assert meter.consumed == reference.units(wanted, state.id, product, meter.meter, one.window_start)


METERS = [("sub-1", "scan", "host"), ("sub-1", "calls", "call"), ("sub-1", "web", "app"), ("sub-2", "web", "cert")]
METERS += [("sub-3", "all", one.meter) for one in PRODUCTS[-1].meters] + [("sub-2", "calls", "request")]
RENEWED = (17 * 24 + 5) * 60
MINUTES = st.one_of(
    st.integers(0, 35 * 24 * 60), st.sampled_from([0, 1, 2, 3, 60, 61, RENEWED - 1, RENEWED, RENEWED + 1])
)


@st.composite
def streams(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Draw usage and corrections of it and each other, some wrong or without target."""
    chosen = draw(st.lists(st.sampled_from(METERS), min_size=1, max_size=3, unique=True))
    names = st.sampled_from(["a", "b", "ü"])
    items: list[dict[str, Any]] = []
    for n in range(draw(st.integers(1, 14))):
        subject, product, meter = draw(st.sampled_from(chosen))
        at = NOW - timedelta(minutes=draw(MINUTES))
        quantity = draw(st.one_of(st.integers(0, 4), st.sampled_from(["0.1", "2.75"])))
        items.append(event(f"u-{n}", product, meter, subject=subject, at=at, quantity=quantity, resource=draw(names)))
    counted = [item for item in items if "unique" in item["data"]["meter"] or item["data"]["meter"] == "host"]
    for n in range(draw(st.integers(0, 4)) if counted else 0):
        of = draw(st.sampled_from(counted))
        at = reference.at(of) + timedelta(minutes=draw(st.integers(-2, 2)))
        if NOW - timedelta(days=35) <= at <= NOW:
            data = of["data"]
            items.append(
                purge(f"p-{n}", data["resource"], data["product"], data["meter"], subject=of["subject"], at=at)
            )
    for n in range(draw(st.integers(0, 6))):
        of = draw(st.sampled_from(items))
        changes = draw(st.sampled_from([{}, {}, {}, {}, {"id": "never"}]))
        items.append(reversal(f"r-{n}", of, at=NOW - timedelta(minutes=draw(st.integers(0, 9))), **changes))
    return items


@pytest.mark.timeout(600)
@settings(max_examples=50, suppress_health_check=list(HealthCheck))
@given(streams(), st.integers(0, 2**32))
async def test_corrected_usage_equals_the_reference_in_any_order_and_batches(
    connection: Connection, events: list[dict[str, Any]], seed: int
) -> None:
    rng = random.Random(seed)
    await connection.execute(f"TRUNCATE {TABLES}")
    shuffled = events + rng.choices(events, k=len(events) // 2)
    rng.shuffle(shuffled)
    offset, minute = 0, 0
    while offset < len(shuffled):
        size = rng.randint(1, 6)
        await apply(connection, shuffled[offset : offset + size], offset)
        offset += size
        if rng.random() < 0.5:
            minute += 1
            await correct(connection, NOW + timedelta(minutes=minute))
    await settle(connection)
    await assert_equals_the_reference(connection, events)
    total = await books(connection)
    assert total["accepted"] == len(shuffled)
    assert total["accepted"] == total["applied"] + total["duplicate"] + total["quarantined"]


async def test_corrected_usage_equals_the_reference_when_processes_work_concurrently(metering_dsn: str) -> None:
    rng = random.Random(11)
    events: list[dict[str, Any]] = []
    for n in range(400):
        subject, product, meter = rng.choice(METERS)
        at = NOW - timedelta(minutes=rng.randrange(20 * 24 * 60))
        resource = f"r-{rng.randrange(12)}"
        events.append(
            event(f"u-{n}", product, meter, subject=subject, at=at, quantity=rng.randrange(6), resource=resource)
        )
    hosts = [item for item in events if item["data"]["meter"] == "host"]
    for n, of in enumerate(rng.sample(hosts, 12)):
        at = reference.at(of) + timedelta(hours=rng.randrange(-9, 9))
        events.append(purge(f"p-{n}", of["data"]["resource"], subject=of["subject"], at=min(at, NOW)))
    events += [reversal(f"r-{n}", of) for n, of in enumerate(rng.choices(events, k=150))]

    async def work(partition: int) -> None:
        shuffled = random.Random(partition).sample(events, len(events))
        applier = UsageApplier()
        async with connect(metering_dsn) as own:
            for start in range(0, len(shuffled), 40):
                batch = records(shuffled[start : start + 40], first=start, partition=partition)
                async with transaction(own) as tx:
                    await applier.apply(tx, batch)

    async def keep_correcting(stop: asyncio.Event) -> None:
        minutes = 0
        async with connect(metering_dsn) as own:
            while not stop.is_set():
                minutes += 1
                if not await correct(own, NOW + timedelta(minutes=minutes)):
                    await asyncio.sleep(0.01)

    stop = asyncio.Event()
    correctors = [asyncio.create_task(keep_correcting(stop)) for _ in range(2)]
    await asyncio.gather(*(work(partition) for partition in range(3)))
    stop.set()
    await asyncio.gather(*correctors)
    async with connect(metering_dsn) as own:
        await own.execute("UPDATE correction SET look_at = $1 WHERE look_at IS NOT NULL", NOW)
        await settle(own)
        await assert_equals_the_reference(own, events)
        total = await books(own)
        assert total["accepted"] == 3 * len(events)


@pytest.mark.parametrize("meter", ["unique-window", "peak-window"])
async def test_concurrent_usage_is_rechecked_when_it_did_not_see_a_reversal(metering_dsn: str, meter: str) -> None:
    first = event("first", "all", meter, subject="sub-3", quantity=9, resource="a")
    lower = event("lower", "all", meter, subject="sub-3", quantity=3, resource="a", at=NOW - timedelta(minutes=1))
    async with connect(metering_dsn) as one, connect(metering_dsn) as other:
        await apply(one, [first])
        async with transaction(one) as tx:
            await UsageApplier().apply(tx, records([lower], first=1))
            async with transaction(other) as sooner:  # commits before the transaction that does not see it
                await UsageApplier().apply(sooner, records([reversal("r", first)], first=2, partition=1))
            await asyncio.wait_for(correct(other, NOW + timedelta(seconds=1)), 30)
        await settle(other)
        await assert_equals_the_reference(other, [first, lower, reversal("r", first)])


async def test_a_reversal_is_applied_when_its_target_arrives_later(connection: Connection) -> None:
    item = event("late", "calls", "call", quantity=5)
    await apply(connection, [reversal("r", item)])
    assert await correct(connection, NOW) == 1
    assert await correct(connection, NOW) == 0, "it waits for its target"
    await apply(connection, [item], 1)
    assert await correct(connection, NOW) == 1, "its target makes it due, long before its next check"
    assert await stored(connection) == {}, "nothing of it counts"
    assert await connection.fetchval("SELECT count(*) FROM correction_woken") == 0


async def test_wrong_reversals_are_quarantined_and_judged_again_when_replayed(connection: Connection) -> None:
    old = event("old", "calls", "call", at=NOW - timedelta(days=35))
    item = event("u", "calls", "call", quantity=2)
    reversing = reversal("r-1", item)
    await apply(connection, [old], at=NOW - timedelta(days=30))
    wrong: list[tuple[dict[str, Any], str]] = [
        (reversal("r-2", reversing), "unsupported_type"),
        ({**reversal("r-3", item), "subject": "sub-2"}, "identity_conflict"),
        ({**reversal("r-4", item, product="web"), "source": "/platforms/web"}, "identity_conflict"),
        (reversal("r-5", old, at=NOW + timedelta(minutes=1)), "too_old"),
        (
            {**reversal("r-1", item), "time": reversing["time"], "data": {**reversing["data"], "reason": "another"}},
            "identity_conflict",
        ),
        (purge("p-1", "x", "web", "app"), "unsupported_type"),
        ({**reversal("r-6", item), "subject": "nobody"}, "unknown_subscription"),
    ]
    await apply(connection, [item, reversing, *(one for one, _ in wrong)], at=NOW + timedelta(seconds=1))
    known: list[Any] = []
    for _ in range(3):
        await settle(connection)
        rows = await connection.fetch("SELECT id, reason, detail, subscription, settled_at FROM quarantine ORDER BY id")
        assert sorted(row["reason"] for row in rows) == sorted(reason for _, reason in wrong)
        assert None not in [row["subscription"] for row in rows]
        assert rows == (known or rows), "a replay adds no row and changes none"
        known = rows
        total = await books(connection)
        assert total == {"accepted": 9, "applied": 2, "quarantined": 7}
        last: int | None = 0
        while last is not None:
            async with connection.transaction():
                tx = Transaction(connection, NOW, service="metering")
                left, last = await replay_range(tx, UsageApplier(), last or 0, 2**60, 2)
                assert left == 0


async def test_a_second_reversal_is_a_duplicate_and_the_first_is_audited(connection: Connection) -> None:
    item = event("u", "calls", "call", quantity=2)
    await apply(connection, [item, reversal("r-1", item), reversal("r-1", item), reversal("r-2", item)])
    await settle(connection)
    await apply(connection, [reversal("r-3", item), item], 4)
    await settle(connection)
    assert await books(connection) == {"accepted": 6, "applied": 2, "duplicate": 4}
    audited = [
        decode(row["value"], by_type([DecisionRecorded])) for row in await connection.fetch("SELECT value FROM outbox")
    ]
    assert [(one.data.record.action, one.data.record.object, one.data.record.reason) for one in audited if one] == [
        ("reverse-usage", "/platforms/calls/u", "by mistake")
    ]


async def test_a_purge_affects_only_its_window_and_later_usage_counts_again(connection: Connection) -> None:
    seen = [event(f"s-{days}", at=NOW - timedelta(days=days), resource="host-1") for days in (1, 20)]
    await apply(connection, [*seen, purge("p", "host-1")])
    await settle(connection)
    assert [value for value, _ in (await figures(connection)).values()] == [1], "the past window is as it was"
    await apply(connection, [event("again", resource="host-1", at=NOW + timedelta(seconds=1))], 3)
    assert [value for value, _ in (await figures(connection)).values()] == [1, 1]
    await apply(connection, [event("late", resource="host-2", at=NOW - timedelta(hours=2))], 4)
    assert sorted(value for value, _ in (await figures(connection)).values()) == [1, 2]
    await apply(connection, [purge("p-2", "host-3")], 5)
    await apply(connection, [event("before", resource="host-3", at=NOW - timedelta(hours=2))], 6)
    assert sorted(value for value, _ in (await figures(connection)).values()) == [1, 2], (
        "at once, not at the next check"
    )


@pytest.mark.parametrize("order", list(permutations(range(3))))
@pytest.mark.parametrize("looked_between", [False, True])
async def test_resources_count_again_when_their_purge_is_reversed(
    connection: Connection, order: tuple[int, ...], looked_between: bool
) -> None:
    """Also in a window without any other usage."""
    gone = purge("p", "host-1")
    events = [event("u", resource="host-1", at=NOW), gone, reversal("r", gone)]
    for offset, number in enumerate(order):
        await apply(connection, [events[number]], offset)
        if looked_between:
            await correct(connection, NOW + timedelta(minutes=offset))
    await settle(connection)
    assert [value for value, _ in (await figures(connection)).values()] == [1]
    await assert_equals_the_reference(connection, events)
