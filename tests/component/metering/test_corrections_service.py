"""Corrections and late usage of a running metering, and its check."""

import json
import subprocess
import sys
from datetime import timedelta
from typing import Any

import httpx

from deploy.local.environment import clean_environment
from services.metering.settings import MeteringSettings
from services.metering.verification.kafka_reader import open_reader
from shared.events.metering import WindowRestated
from shared.runtime.process.clock import utc_now
from tests.support.builders.metering import event, purge, reversal
from tests.support.drivers.metering import KEY, Metering
from tests.support.drivers.metering_clients import newest_snapshots, until
from tests.support.servers.databases import connect


async def consumed(running: Metering) -> dict[tuple[str, str], list[int]]:
    found: dict[tuple[str, str], list[int]] = {}
    for one in sorted((await newest_snapshots(running.servers, running.prefix)).values(), key=lambda one: one.key):
        found.setdefault((one.subscription, one.product), []).append(one.consumed)
    return found


async def settled(running: Metering) -> int:
    async with connect(running.dsn) as connection:
        return int(await connection.fetchval("SELECT count(*) FROM correction WHERE settled_at IS NOT NULL"))


async def test_final_windows_are_restated_when_corrections_arrive_by_http_and_kafka(metering: Metering) -> None:
    now = utc_now()
    long_ago = now - timedelta(days=34)
    hosts = [event(f"h-{n}", at=now, resource=f"host-{n}") for n in range(5)]
    calls = [event(f"c-{n}", "calls", "request", at=now) for n in range(3)]
    await metering.publish([reversal("r-2", calls[2], at=now), *hosts, *calls])
    await metering.accepted(9)
    batch: list[dict[str, Any]] = [
        reversal("r-0", hosts[0], at=now),
        purge("p-1", "host-1", at=now + timedelta(seconds=1)),
        reversal("r-x", calls[0], at=now),
        {**reversal("r-y", hosts[3], at=now), "data": {"product": "scan"}},
    ]
    headers = {"authorization": f"Bearer {KEY}", "content-type": "application/cloudevents-batch+json"}
    async with httpx.AsyncClient(base_url=metering.process.url, headers=headers) as http:
        answer = (await http.post("/v1/usage", content=json.dumps(batch))).json()
    assert answer["accepted"] == 2
    assert [(one["index"], one["code"]) for one in answer["refused"]] == [(2, "source_not_allowed"), (3, "malformed")]
    await until(lambda: settled(metering), lambda count: count == 3)
    await metering.publish([event("late", at=long_ago, resource="old")])
    await metering.accepted(12)
    await until(lambda: consumed(metering), lambda seen: seen == {("sub-1", "scan"): [1, 3], ("sub-1", "calls"): [2]})

    async def restated() -> list[WindowRestated]:
        return [one for one in await metering.events() if isinstance(one, WindowRestated)]

    (one,) = await until(restated, bool)
    assert (one.subscription, one.product, one.before, one.after.consumed) == ("sub-1", "scan", None, 1)
    assert (one.cause, one.window_start < long_ago < one.window_end) == ("late_usage", True)
    assert await metering.books() == {"accepted": 12, "applied": 12, "duplicate": 0, "quarantined": 0}
    checked = check(metering)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "no differences" in checked.stdout


async def test_check_names_an_identity_of_several_days_by_its_id(metering: Metering) -> None:
    now = utc_now()
    await metering.publish([event("again", at=now - timedelta(days=back), resource="a") for back in (3, 6)])
    await metering.accepted(2)
    await metering.drained()
    checked = check(metering)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "; id again\n" in checked.stdout


async def test_check_finds_differences_when_an_older_database_was_restored(metering: Metering) -> None:
    now = utc_now()
    for n in range(3):
        await metering.publish(
            [event(f"c-{n}", "calls", "call", at=now), event(f"h-{n}", at=now, resource=f"host-{n}", subject="sub-2")]
        )
        await metering.accepted(2 * n + 2)
        await metering.drained()
    metering.process.kill()
    assert check(metering).returncode == 0
    async with connect(metering.dsn) as connection:
        await connection.execute("UPDATE meter_window SET revision = 1")
    restored = check(metering)
    assert restored.returncode == 1, restored.stdout + restored.stderr
    assert "newer revisions of 2 windows" in restored.stdout
    assert "consumption sub-1 calls" in restored.stdout
    async with connect(metering.dsn) as connection:
        await connection.execute("TRUNCATE meter_window, usage, sighting, usage_hour, book, hour_due, usage_midnight")
    emptied = check(metering)
    assert (emptied.returncode, "stored is nothing" in emptied.stdout) == (1, True)


async def test_check_fails_with_a_message_when_kafka_is_away(metering: Metering) -> None:
    unanswered = check(metering, UNITPOOL_KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1")
    assert unanswered.returncode == 2
    assert "cannot ask Kafka" in unanswered.stderr
    assert "no differences" in unanswered.stdout


def check(metering: Metering, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "services.metering", "check"],
        env={**clean_environment(), **metering.env, **more},
        capture_output=True,
        text=True,
        check=False,
    )


async def test_check_ignores_snapshots_when_they_are_published_while_it_runs(metering: Metering) -> None:
    """Only snapshots that Kafka had when the check began are compared.

    The database is read first.
    """
    now = utc_now()
    await metering.publish([event("before", at=now, resource="a")])
    await metering.accepted(1)
    await metering.drained()
    settings = MeteringSettings.model_validate(
        {
            "database_url": metering.dsn,
            "kafka_bootstrap_servers": metering.servers,
            "kafka_topic_prefix": metering.prefix,
        }
    )
    async with open_reader(settings) as kafka:
        (before,) = [one async for some in kafka.published() for one in some]
    async with open_reader(settings) as kafka:
        for number in range(50):
            await metering.publish([event(f"later-{number}", at=now, resource=f"r-{number}")])
        await metering.accepted(51)
        await metering.drained()
        (found,) = [one async for some in kafka.published() for one in some]
    assert found == before
    async with open_reader(settings) as kafka:
        assert max([one.revision async for some in kafka.published() for one in some]) > before.revision
