"""An identity is applied once, in one batch, in several, and by several processes."""

import asyncio
import json
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.metering.domain.catalogue import DAY_US, microseconds
from services.metering.domain.placement import NEAR_MIDNIGHT_US
from services.metering.handlers.apply_usage import UsageApplier
from services.metering.store import usage as store
from shared.runtime.postgres.pool import Connection
from tests.component.metering.test_apply_usage import _TABLES, apply, books
from tests.support.builders.metering import event, records
from tests.support.servers.databases import connect

MIDNIGHT = datetime(2026, 11, 20, tzinfo=UTC)
EVENING, NIGHT, NOON = (MIDNIGHT + timedelta(minutes=minutes) for minutes in (-30, 10, 12 * 60))
Item = dict[str, Any]


def usage(id: str, at: datetime, quantity: int = 1) -> Item:
    return event(id, "calls", "call", at=at, quantity=quantity)


def are_the_same(one: Item, other: Item) -> bool:
    """Return whether both have one identity, in a day or around one midnight.

    Around: within an hour.
    """
    return one["id"] == other["id"] and bool(_places(one) & _places(other))


def _places(item: Item) -> set[int]:
    at_us = microseconds(datetime.fromisoformat(item["time"]))
    day, into = divmod(at_us, DAY_US)
    places = {2 * day}
    if into < NEAR_MIDNIGHT_US:
        places.add(2 * day - 1)
    elif into >= DAY_US - NEAR_MIDNIGHT_US:
        places.add(2 * day + 1)
    return places


def sequential(items: Sequence[Item]) -> list[str]:
    """Return the outcome of each when they arrive one after another."""
    applied: list[Item] = []
    outcomes = []
    for item in items:
        taken = [one for one in applied if are_the_same(one, item)]
        outcomes.append("duplicate" if item in taken else "quarantined" if taken else "applied")
        if not taken:
            applied.append(item)
    return outcomes


@pytest.mark.parametrize(
    "batches",
    [
        [[("e", EVENING)], [("e", NIGHT), ("e", EVENING)]],
        [[("e", NIGHT)], [("e", EVENING), ("e", NIGHT)]],
        [[("e", NOON)], [("e", NIGHT), ("e", EVENING)]],
        [[("e", EVENING)], [("e", NIGHT), ("e", NOON), ("e", EVENING), ("e", NOON)]],
        [[("e", EVENING), ("e", NIGHT), ("e", EVENING)], [("e", NIGHT), ("e", EVENING), ("e", NIGHT)]],
    ],
)
async def test_an_applied_event_is_a_duplicate_when_a_conflict_precedes_it_in_the_batch(
    connection: Connection, batches: list[list[tuple[str, datetime]]]
) -> None:
    items = [usage(*one) for batch in batches for one in batch]
    outcomes: list[str] = []
    for batch in batches:
        applied = await apply(connection, records([usage(*one) for one in batch], first=len(outcomes)))
        outcomes += applied.outcomes
    assert outcomes == sequential(items)


TIMES = [MIDNIGHT + timedelta(minutes=m) for m in (-720, -61, -60, -10, 0, 10, 59, 60, 720, 1430, 1440, 1450)]
ITEMS = st.builds(usage, st.sampled_from(["a", "b"]), st.sampled_from(TIMES), st.integers(1, 2))


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(st.lists(ITEMS, max_size=14), st.randoms(use_true_random=False), st.booleans())
async def test_outcomes_equal_the_sequential_ones_in_any_order_and_batches(
    connection: Connection, items: list[Item], rng: random.Random, again: bool
) -> None:
    await connection.execute(f"TRUNCATE {_TABLES}")
    items += rng.choices(items, k=len(items) // 2) if again and items else []
    applier, outcomes = UsageApplier(), list[str]()
    while len(outcomes) < len(items):
        batch = items[len(outcomes) : len(outcomes) + rng.randint(1, 8)]
        applied = await apply(connection, records(batch, first=len(outcomes)), applier)
        outcomes += applied.outcomes
    assert outcomes == sequential(items)
    rows = await connection.fetch("SELECT subscription, product, source, event_id, value FROM quarantine")
    for row in rows:
        assert tuple(row)[:3] == ("sub-1", "calls", "/platforms/calls")
        assert row["event_id"] == json.loads(row["value"])["id"]


async def test_no_more_rounds_are_made_when_an_event_repeats_many_times(connection: Connection) -> None:
    await apply(connection, records([usage("e", EVENING)]))
    many = [usage("e", NIGHT, 2), usage("e", EVENING)] * 3000
    async with asyncio.timeout(20):
        applied = await apply(connection, records(many, first=1))
    assert applied.outcomes == ["quarantined", "duplicate"] * 3000


async def test_an_identity_is_read_once_when_it_is_repeated(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a batch with one event 10,000 times has quadratic cost."""
    read = list[int]()
    find_stored = store.find_stored

    async def counted(own: Connection, wanted: Sequence[tuple[bytes, datetime]]) -> dict[bytes, list[store.Stored]]:
        read.append(len(wanted))
        return await find_stored(own, wanted)

    monkeypatch.setattr(store, "find_stored", counted)
    await apply(connection, records([usage("e", EVENING)]))
    applied = await apply(connection, records([usage("e", NIGHT, 2), usage("e", EVENING)] * 10, first=1))
    assert applied.outcomes == ["quarantined", "duplicate"] * 10
    assert read == [2], "its two days"


@settings(max_examples=12, suppress_health_check=list(HealthCheck))
@given(st.lists(ITEMS, min_size=4, max_size=24), st.randoms(use_true_random=False))
async def test_an_identity_is_applied_once_when_several_processes_apply_concurrently(
    metering_dsn: str, items: list[Item], rng: random.Random
) -> None:
    async with connect(metering_dsn) as own:
        await own.execute(f"TRUNCATE {_TABLES}")
    became: list[tuple[Item, str]] = []

    async def work(partition: int) -> None:
        mine, applier = items[partition::3] * 2, UsageApplier()
        done = 0
        async with connect(metering_dsn) as own:
            while done < len(mine):
                batch = mine[done : done + rng.randint(1, 5)]
                try:
                    applied = await apply(own, records(batch, first=done, partition=partition), applier)
                except asyncpg.DeadlockDetectedError:  # the runtime retries such a batch
                    continue
                became.extend(zip(batch, applied.outcomes, strict=True))
                done += len(batch)

    await asyncio.gather(*(work(partition) for partition in range(3)))
    applied = [item for item, outcome in became if outcome == "applied"]
    assert all(not are_the_same(one, other) for n, one in enumerate(applied) for other in applied[:n])
    for item, outcome in became:
        if outcome != "applied":
            assert (item in applied) == (outcome == "duplicate"), (item, outcome)
            assert any(are_the_same(item, one) for one in applied)
    async with connect(metering_dsn) as own:
        total = await books(own)
        assert await own.fetchval("SELECT count(*) FROM usage") == len(applied) == total["applied"]
    assert total["accepted"] == len(became)
