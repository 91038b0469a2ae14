"""Bad records: none affects others, each is stored as a row, and sums stay exact.

``UNITPOOL_EXACT_SUM_EVENTS`` (50,000): number of times that 0.1 is added; 10,000,000 takes minutes.
"""

import json
import os
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.metering.handlers.apply_usage import UsageApplier
from shared.runtime.postgres.pool import Connection
from shared.runtime.records import Record
from tests.component.metering.test_apply_usage import _TABLES, apply, books
from tests.support.builders.metering import NOW, event, records
from tests.support.drivers.transactions import transaction
from tests.support.garbage_cycles import freed_at_once

EXACT = int(os.environ.get("UNITPOOL_EXACT_SUM_EVENTS", "50000"))
AT_ONCE = 5_000

GOOD = event("bad", resource="r")


def written(**changes: Any) -> bytes:
    return json.dumps({**GOOD, **changes}).encode()


def deep(levels: int) -> bytes:
    """Build an event with an additional attribute that is nested this deep."""
    return written()[:-1] + b', "extra": ' + b"[" * levels + b"]" * levels + b"}"


NOTED = json.dumps(event("k", resource="r", note=1))
BAD: list[tuple[str, bytes | None, str]] = [
    ("tombstone", None, "malformed"),
    ("no bytes", b"", "malformed"),
    ("nothing but NUL", b"\0" * 100, "malformed"),
    ("deep nesting", deep(200_000), "malformed"),
    ("deep nesting alone", b"[" * 500_000, "malformed"),
    (
        "a key of data twice",
        json.dumps(event("k", resource="r", x=1)).replace('"x": 1', '"x": 1, "x": 1').encode(),
        "malformed",
    ),
    ("a key twice, written differently", written()[:-1] + b', "\\u0069d": "other"}', "malformed"),
    ("a time without offset", written(time="2026-11-24T10:00:00"), "malformed"),
    ("in 1970", written(time="1970-01-01T00:00:00Z"), "too_old"),
    ("before all time", written(time="0001-01-01T00:00:00+14:00"), "too_old"),
    ("in 2100", written(time="2100-01-01T00:00:00Z"), "too_far_ahead"),
    ("after all time", written(time="9999-12-31T23:59:59-14:00"), "too_far_ahead"),
    ("a leap second", written(time="2026-06-30T23:59:60Z"), "malformed"),
    ("an id of 10 kB", written(id="i" * 10_000), "malformed"),
    ("a source of 10 kB", written(source="/platforms/scan/" + "s" * 10_000), "malformed"),
    ("NUL in the id", written(id="a\0b"), "malformed"),
    ("NUL in the subject", written(subject="sub-1\0"), "malformed"),
    ("half a surrogate pair in the source", written(source="/platforms/scan\ud83d"), "malformed"),
    ("version 0.3", written(specversion="0.3"), "malformed"),
    ("another encoding", json.dumps(GOOD).encode("utf-16"), "malformed"),
]


async def test_each_bad_record_is_quarantined_and_affects_no_other(connection: Connection) -> None:
    stream: list[Any] = []
    for n, (_, value, _) in enumerate(BAD):
        stream += [event(f"good-{n}", resource=f"r-{n}"), value]
    await apply(connection, records(stream))
    assert dict(await books(connection)) == {
        "accepted": 2 * len(BAD),
        "applied": len(BAD),
        "quarantined": len(BAD),
    }
    rows = await connection.fetch("SELECT value, reason FROM quarantine ORDER BY kafka_offset")
    assert [(row["value"], row["reason"]) for row in rows] == [(value, reason) for _, value, reason in BAD]


async def test_a_batch_is_released_when_one_of_its_records_is_rejected(connection: Connection) -> None:
    with freed_at_once(Record):
        await apply(connection, records([event("good", resource="r"), *(value for _, value, _ in BAD)]))


@pytest.mark.parametrize(("levels", "outcome"), [(50, "applied"), (200_000, "quarantined")])
async def test_nested_attributes_are_stored_when_they_can_be_read(
    connection: Connection, levels: int, outcome: str
) -> None:
    await apply(connection, records([deep(levels)]))
    assert dict(await books(connection)) == {"accepted": 1, outcome: 1}
    kept = [json.loads(row["extra"])["extra"] for row in await connection.fetch("SELECT extra FROM usage")]
    assert kept == ([json.loads(b"[" * levels + b"]" * levels)] if outcome == "applied" else [])


async def test_a_sum_is_exact_when_a_tenth_is_added_many_times(connection: Connection) -> None:
    applier = UsageApplier()
    for first in range(0, EXACT, AT_ONCE):
        count = min(AT_ONCE, EXACT - first)
        items = [event(f"t-{first + n}", "calls", "call", quantity="0.1") for n in range(count)]
        async with transaction(connection) as tx:
            await applier.apply(tx, records(items, first=first))
    aggregate = await connection.fetchval("SELECT aggregate FROM meter_window")
    assert aggregate == Decimal(EXACT) / 10
    assert await connection.fetchval("SELECT sum(total) FROM hourly_usage") == Decimal(EXACT) / 10


@settings(max_examples=25, suppress_health_check=list(HealthCheck))
@given(st.lists(st.text(min_size=1, max_size=520), min_size=1, max_size=12))
async def test_resources_are_distinct_when_any_of_their_characters_differ(
    connection: Connection, resources: list[str]
) -> None:
    """Nothing is normalised: composed letters, case and spaces make a difference."""
    await connection.execute(f"TRUNCATE {_TABLES}, quarantine")
    variants = [other for one in resources for other in (one, f"{one}\u0301", f" {one}", one.swapcase())]
    items = [event(f"u-{n}", resource=one, at=NOW - timedelta(minutes=n)) for n, one in enumerate(variants)]
    await apply(connection, records(items))
    storable = [one for one in variants if "\0" not in one and len(one) <= 512]
    rows = await connection.fetch("SELECT resource FROM sighting")
    assert sorted(row["resource"] for row in rows) == sorted(set(storable))
    assert (await connection.fetchval("SELECT aggregate FROM meter_window") or 0) == len(set(storable))
    assert await connection.fetchval("SELECT count(*) FROM quarantine") == len(variants) - len(storable)
