"""Reversals and purges on a real PostgreSQL: one effect, whatever comes first, and nothing below zero."""

import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.metering.handlers.apply_usage import UsageApplier
from services.metering.handlers.correct import correct_some
from services.metering.handlers.publish_snapshots import load_terms
from services.metering.store.projection import Projection
from shared.runtime.delivery import Transaction
from shared.runtime.postgres import Connection
from tests.component.metering import reference
from tests.component.metering.test_apply_usage import books, stored
from tests.component.metering.world import NOW, PRODUCTS, SUBSCRIPTIONS, event, purge, records, reversal

TABLES = (
    "usage, usage_midnight, sighting, usage_hour, meter_window, snapshot_due, book, quarantine, usage_position,"
    " correction, correction_woken, restating, restatement, outbox"
)
LONG_AGO = NOW - timedelta(days=400)
HOURS = """
SELECT s.id AS subscription, m.product, m.id AS meter, h.hour, h.events, h.total, h.peak
FROM usage_hour h JOIN subscription s ON s.number = h.subscription JOIN meter m ON m.number = h.meter
"""
SIGHTINGS = """
SELECT s.id AS subscription, m.product, m.id AS meter, g.window_start, g.resource
FROM sighting g JOIN subscription s ON s.number = g.subscription JOIN meter m ON m.number = g.meter
"""


async def apply(connection: Connection, items: Sequence[Any], first: int = 0, at: datetime = NOW) -> None:
    applier = UsageApplier()
    async with connection.transaction():
        await applier.apply(connection, records(items, first=first, at=at), at)


async def correct(connection: Connection, now: datetime, *, projection: Projection | None = None) -> int:
    async with connection.transaction():
        tx = Transaction(connection, now, service="metering")
        looked_at = await correct_some(tx, projection or Projection(), 100)
        await tx.flush()
    return looked_at


async def settle(connection: Connection) -> None:
    """Look until nothing is due but reversals that wait for what may never come."""
    for hours in range(6):
        while await correct(connection, NOW + timedelta(hours=hours, seconds=5)):
            pass


async def figures(connection: Connection) -> reference.Figures:
    return {key: figure for key, figure in (await stored(connection)).items() if figure != (0, None)}


async def hours(connection: Connection) -> dict[Any, tuple[int, Decimal, Decimal]]:
    return {tuple(row)[:4]: tuple(row)[4:] for row in await connection.fetch(HOURS)}


async def resources(connection: Connection) -> dict[Any, set[str]]:
    found: dict[Any, set[str]] = {}
    for row in await connection.fetch(SIGHTINGS):
        found.setdefault(tuple(row)[:4], set()).add(row["resource"])
    return found


async def assert_equals_the_reference(connection: Connection, events: Sequence[dict[str, Any]]) -> None:
    assert await figures(connection) == reference.aggregates(events)
    assert await hours(connection) == reference.hours(events)
    assert await resources(connection) == reference.resources(events)
    await assert_units(connection, reference.aggregates(events))


async def assert_units(connection: Connection, wanted: reference.Figures) -> None:
    """What snapshots say in units, of every window of a product."""
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
    """Usage, and corrections of it and of each other, some of them wrong or of what never comes."""
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


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(streams(), st.randoms(use_true_random=False))
async def test_any_order_and_any_batches_equal_the_reference(
    connection: Connection, events: list[dict[str, Any]], rng: random.Random
) -> None:
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
