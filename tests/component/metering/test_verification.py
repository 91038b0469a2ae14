"""The check reports differences from raw usage; recomputation equals live figures."""

import random
from datetime import timedelta
from typing import Any

import pytest

from services.metering.handlers.recompute import recompute_all
from services.metering.verification import DIFFERENT, EQUAL, check_all
from shared.runtime.postgres.pool import Connection
from tests.component.metering.test_corrections import METERS, apply, assert_equals_the_reference, settle
from tests.support.builders.metering import NOW, add_hours, event, measure_days, purge, reversal

KEPT = "SELECT subscription, meter, window_start, aggregate, reached_at FROM meter_window ORDER BY 1, 2, 3"
RESOURCES = "SELECT subscription, meter, window_start, resource, received_at FROM sighting ORDER BY 1, 2, 3, 4"
HOURS = "SELECT subscription, meter, hour, events, total, peak FROM hourly_usage ORDER BY 1, 2, 3"


def some_usage() -> list[dict[str, Any]]:
    rng = random.Random(5)
    items: list[dict[str, Any]] = []
    for n in range(300):
        subject, product, meter = rng.choice(METERS)
        at = NOW - timedelta(minutes=rng.randrange(35 * 24 * 60))
        resource = f"r-{rng.randrange(9)}"
        items.append(
            event(f"u-{n}", product, meter, subject=subject, at=at, quantity=rng.randrange(6), resource=resource)
        )
    hosts = [item for item in items if item["data"]["meter"] == "host"]
    of = rng.sample(hosts, 5)
    purges = [
        purge(f"p-{n}", one["data"]["resource"], subject=one["subject"], at=NOW - timedelta(hours=n))
        for n, one in enumerate(of)
    ]
    return [*items, *purges, *(reversal(f"r-{n}", one) for n, one in enumerate(rng.sample([*items, *purges], 40)))]


async def filled(connection: Connection) -> list[dict[str, Any]]:
    events = some_usage()
    for start in range(0, len(events), 50):
        await apply(connection, events[start : start + 60], start)
    await apply(connection, [event("nobody", subject="nobody"), b"{"], len(events))
    await settle(connection)
    return events


@pytest.mark.parametrize("days_are_due", [True, False])
async def test_check_finds_no_differences_when_nothing_was_changed(
    connection: Connection, capsys: pytest.CaptureFixture[str], days_are_due: bool
) -> None:
    await filled(connection)
    if not days_are_due:
        await measure_days(connection)
    assert await check_all(connection, NOW) == EQUAL
    output = capsys.readouterr()
    assert "no differences" in output.out
    assert "days recomputed" in output.err


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (
            "UPDATE meter_window SET aggregate = aggregate + 1 WHERE aggregate > 1",
            "window sub-",
        ),
        ("DELETE FROM sighting WHERE resource = 'r-1'", "with usage are missing"),
        ("UPDATE usage_hour SET total = total + 1", "hour sub-"),
        ("UPDATE usage_hour SET peak = peak + 1", "hour sub-"),
        ("UPDATE measured_days SET aggregate = aggregate + 1", "day sub-"),
        ("DELETE FROM measured_days", "day sub-"),
        (
            "UPDATE book SET applied = applied + 1, accepted = accepted + 1 WHERE source LIKE '/%'",
            "raw usage has",
        ),
        ("UPDATE quarantine SET settled_at = now()", "in quarantine are 0"),
        ("UPDATE usage SET reversed_at = now() WHERE kafka_offset = 7", "by raw usage"),
    ],
)
async def test_check_names_the_difference_when_a_table_was_changed(
    connection: Connection, capsys: pytest.CaptureFixture[str], fault: str, says: str
) -> None:
    await filled(connection)
    await measure_days(connection)
    assert int((await connection.execute(fault)).split()[-1])
    assert await check_all(connection, NOW) == DIFFERENT
    assert says in capsys.readouterr().out


async def test_check_names_identities_when_they_have_usage_on_several_days(
    connection: Connection, capsys: pytest.CaptureFixture[str]
) -> None:
    days = [event("same", resource="a", at=NOW - timedelta(days=back)) for back in (1, 3)]
    await apply(connection, [*days, event("other", resource="a")])
    assert await check_all(connection, NOW) == EQUAL
    output = capsys.readouterr().out
    assert "identity of /platforms/scan on several days: 2026-11-21T10:00Z, 2026-11-23T10:00Z; its id" in output
    assert "1 identities on several days" in output


async def test_consumption_filled_from_raw_usage_equals_the_live_one(connection: Connection) -> None:
    events = await filled(connection)
    await add_hours(connection)
    live = [await connection.fetch(text) for text in (KEPT, RESOURCES, HOURS)]
    await connection.execute("TRUNCATE meter_window, sighting, usage_hour, hour_due, snapshot_due")
    assert await recompute_all(connection, NOW) == EQUAL
    again = [await connection.fetch(text) for text in (KEPT, RESOURCES, HOURS)]
    assert [row for row in again[0] if row["aggregate"]] == [row for row in live[0] if row["aggregate"]]
    assert again[1:] == live[1:]
    await assert_equals_the_reference(connection, events)
    assert await check_all(connection, NOW) == EQUAL
    assert await connection.fetchval("SELECT count(*) FROM snapshot_due") == 1
    await recompute_all(connection, NOW)
    assert await connection.fetchval("SELECT count(*) FROM snapshot_due") == 1, (
        "nothing has changed since the recomputation"
    )
