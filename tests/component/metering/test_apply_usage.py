"""Batches of usage on a real PostgreSQL: records applied and not, and the books."""

import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.metering.handlers.apply_usage import BatchOutcome, UsageApplier
from services.metering.store.books import reconcile
from shared.runtime.postgres.pool import Connection
from shared.runtime.records import Record
from tests.support.builders.metering import NOW, event, records
from tests.support.drivers.transactions import transaction
from tests.support.references.usage import NOTHING, Key, aggregates

_AGGREGATES = """
SELECT s.id AS subscription, m.product, m.id AS meter, w.window_start, w.aggregate, w.reached_at
FROM meter_window w JOIN subscription s ON s.number = w.subscription JOIN meter m ON m.number = w.meter
"""
_TABLES = (
    "usage, usage_midnight, sighting, usage_hour, hour_due, meter_window, snapshot_due, book, quarantine,"
    " usage_position, measured_days, day_due"
)


async def apply(connection: Connection, batch: list[Record], applier: UsageApplier | None = None) -> BatchOutcome:
    applier = applier or UsageApplier()
    async with transaction(connection) as tx:
        return await applier.apply(tx, batch)


async def stored(connection: Connection) -> dict[Key, tuple[Decimal, datetime | None]]:
    figures = {
        (row["subscription"], row["product"], row["meter"], row["window_start"]): (row["aggregate"], row["reached_at"])
        for row in await connection.fetch(_AGGREGATES)
    }
    return {key: figure for key, figure in figures.items() if figure != NOTHING}


async def books(connection: Connection) -> Counter[str]:
    total: Counter[str] = Counter()
    for line in await reconcile(connection, NOW.date() - timedelta(days=9), NOW.date() + timedelta(days=9)):
        total.update({name: getattr(line, name) for name in ("accepted", "applied", "duplicate", "quarantined")})
    return +total


async def test_valid_records_are_applied_when_others_of_their_batch_are_bad(connection: Connection) -> None:
    bad: list[tuple[Any, str]] = [
        (None, "malformed"),
        (b"\xff", "malformed"),
        (event("a", subject="nobody", resource="h"), "unknown_subscription"),
        (event("b", "nothing"), "unknown_product"),
        (event("c", "scan", "nothing"), "unknown_meter"),
        ({**event("d", resource="h"), "source": "/platforms/web"}, "source_not_allowed"),
        (event("e", at=NOW - timedelta(days=35, microseconds=1), resource="h"), "too_old"),
        (event("f", at=NOW + timedelta(minutes=5, microseconds=1), resource="h"), "too_far_ahead"),
        (event("g"), "missing_resource"),
        (event("h", "calls", "call", quantity=-1), "invalid_quantity"),
        ({**event("i"), "type": "other"}, "unsupported_type"),
    ]
    batch: list[Any] = []
    for n, (item, _) in enumerate(bad):
        batch += [item, event(f"good-{n}", resource=f"host-{n}")]
    await apply(connection, records(batch))
    rows = await connection.fetch("SELECT reason, value, kafka_offset FROM quarantine ORDER BY kafka_offset")
    assert [row["reason"] for row in rows] == [reason for _, reason in bad]
    assert [row["value"] for row in rows] == [record.value for record in records(batch)[::2]]
    assert [value for value, _ in (await stored(connection)).values()] == [Decimal(len(bad))]
    assert await books(connection) == {"accepted": 22, "applied": 11, "quarantined": 11}


async def test_usage_is_applied_once_within_and_across_batches(connection: Connection) -> None:
    first = event("e-1", "calls", "call", quantity="0.1")
    await apply(connection, records([first, first, event("e-2", "calls", "call", quantity=2)]))
    await apply(connection, records([first, event("e-2", "calls", "call", quantity=2)], first=3))
    assert [value for value, _ in (await stored(connection)).values()] == [Decimal("2.1")]
    assert await books(connection) == {"accepted": 5, "applied": 2, "duplicate": 3}


@pytest.mark.parametrize("together", [True, False])
async def test_a_record_is_a_conflict_when_its_identity_has_other_content(
    connection: Connection, together: bool
) -> None:
    one, other = event("e-1", "calls", "call", quantity=1), event("e-1", "calls", "call", quantity=2)
    for batch in [[one, other, one]] if together else [[one], [other], [one]]:
        await apply(connection, records(batch))
    assert [value for value, _ in (await stored(connection)).values()] == [Decimal(1)]
    assert await connection.fetchval("SELECT reason FROM quarantine") == "identity_conflict"
    assert await books(connection) == {"accepted": 3, "applied": 1, "duplicate": 1, "quarantined": 1}


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize(("minutes", "applied"), [(59, 1), (61, 2)])
async def test_an_identity_is_recognised_within_an_hour_of_midnight(
    connection: Connection, together: bool, minutes: int, applied: int
) -> None:
    midnight = datetime(2026, 11, 24, tzinfo=UTC)
    one = event("e-1", "calls", "call", at=midnight - timedelta(minutes=minutes))
    other = event("e-1", "calls", "call", at=midnight + timedelta(minutes=minutes))
    for batch in [[one, other]] if together else [[one], [other]]:
        await apply(connection, records(batch))
    assert await connection.fetchval("SELECT count(*) FROM usage") == applied
    assert sum(value for value, _ in (await stored(connection)).values()) == applied
    assert (
        await connection.fetchval("SELECT count(*) FROM quarantine WHERE reason = 'identity_conflict'") == 2 - applied
    )


async def test_extreme_quantities_stay_exact(connection: Connection) -> None:
    quantities: list[Any] = [10**18 - 1, "999999999999999999.999999999999", "0.000000000001", 0, "10000.0001", "0.10"]
    await apply(connection, records([event(f"e-{n}", "calls", "call", quantity=q) for n, q in enumerate(quantities)]))
    rows = await connection.fetch("SELECT quantity FROM usage ORDER BY kafka_offset")
    assert [row["quantity"] for row in rows] == [Decimal(q) for q in quantities]
    ((total, _),) = (await stored(connection)).values()
    assert Fraction(total) == sum(Fraction(q) for q in quantities)


METERS = [("scan", "host"), ("calls", "call"), ("calls", "request"), ("web", "app"), ("web", "cert")]
EVENTS = st.builds(
    lambda number, of, subject, back, quantity, resource: event(
        f"{number}-{of[1]}",
        *of,
        subject=subject,
        at=NOW - timedelta(minutes=back),
        quantity=quantity,
        resource=resource,
    ),
    st.integers(0, 10**6),
    st.sampled_from(METERS),
    st.sampled_from(["sub-1", "sub-2"]),
    st.integers(0, 35 * 24 * 60),
    st.one_of(st.integers(0, 5), st.sampled_from(["0.1", "2.75", "3.0"])),
    st.sampled_from(["a", "b", "ü", "\U0001f600", "x" * 512]),
)


@settings(max_examples=25, suppress_health_check=list(HealthCheck))
@given(st.lists(EVENTS, max_size=40, unique_by=lambda item: item["id"]), st.randoms(use_true_random=False))
async def test_random_usage_in_random_order_equals_the_reference(
    connection: Connection, events: list[dict[str, Any]], rng: random.Random
) -> None:
    await connection.execute(f"TRUNCATE {_TABLES}")
    shuffled = events + rng.choices(events, k=len(events) // 2) if events else []
    rng.shuffle(shuffled)
    applier, offset = UsageApplier(), 0
    while offset < len(shuffled):
        size = rng.randint(1, 15)
        await apply(connection, records(shuffled[offset : offset + size], first=offset), applier)
        offset += size
    assert await stored(connection) == aggregates(events)
    assert await books(connection) == +Counter(
        accepted=len(shuffled), applied=len(events), duplicate=len(shuffled) - len(events)
    )
