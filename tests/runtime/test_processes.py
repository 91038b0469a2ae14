"""A service process: killed, stopped, run twice, and without its servers."""

import asyncio
import time
from collections import Counter
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from shared.events.topics import ALLOCATION_EVENTS_TOPIC
from tests.conftest import MakeDatabase, StartService
from tests.support.drivers.processes import ServiceProcess
from tests.support.drivers.runtime import Bench, until
from tests.support.drivers.tallies import Tallies
from tests.support.servers.databases import connect

TOPIC = ALLOCATION_EVENTS_TOPIC


async def test_records_are_applied_once_when_the_process_is_killed_between_the_two_commits(tallies: Tallies) -> None:
    """PostgreSQL has committed and Kafka has not.

    The records are thus read again, and skipped.
    """
    wanted = [f"r{number}" for number in range(100)]
    await tallies.bench.send_many(TOPIC, [one.encode() for one in wanted])
    dying = tallies.start(die_after_commit_of="r50")
    assert await dying.wait_ended(60) == -9
    assert "r50" in await tallies.noted()
    tallies.start()
    await until(lambda: tallies.has_noted(100))
    await tallies.assert_exactly(wanted)


async def test_records_are_applied_exactly_once_when_the_process_is_killed_repeatedly(tallies: Tallies) -> None:
    wanted = [f"r{number}" for number in range(600)]
    await tallies.bench.send_many(TOPIC, [one.encode() for one in wanted])
    kills = 0
    for target in (100, 250, 400):
        process = tallies.start(handler_seconds="0.02")
        await until(lambda target=target: tallies.has_noted(target))  # type: ignore[misc]
        process.kill()
        kills += 1
    tallies.start()
    await until(lambda: tallies.has_noted(600))
    assert kills == 3
    await tallies.assert_exactly(wanted)


async def test_the_running_batch_is_committed_when_the_process_is_terminated(tallies: Tallies) -> None:
    process = tallies.start(handler_seconds="1.5")
    await process.wait_ready()
    await tallies.bench.send_many(TOPIC, [b"r0", b"r1", b"r2"], partitions=1)
    await until(lambda: lag_is_seen(process), what="a batch that is running")
    started = time.monotonic()
    assert await process.terminate() == 0
    assert time.monotonic() - started < 10
    await tallies.assert_exactly(["r0", "r1", "r2"])
    async with connect(tallies.dsn) as connection:
        assert await connection.fetchval("SELECT next_offset FROM consumer_offsets WHERE partition = 0") == 3


async def lag_is_seen(process: ServiceProcess) -> bool:
    return "lag 3 records" in (await process.readiness())["checks"][f"consumer:{TOPIC.name}"]["detail"]


async def test_records_are_applied_exactly_once_when_partitions_are_rebalanced_during_a_batch(tallies: Tallies) -> None:
    """Records are sent while a second process joins, and while the first one leaves."""
    first = tallies.start(handler_seconds="0.3")
    await first.wait_ready()
    wanted: list[str] = []

    async def send_more() -> None:
        more = [f"r{number}" for number in range(len(wanted), len(wanted) + 60)]
        await tallies.bench.send_many(TOPIC, [one.encode() for one in more])
        wanted.extend(more)

    await send_more()
    second = tallies.start(handler_seconds="0.05")
    deadline = time.monotonic() + 60
    while not await both_worked(tallies):
        assert time.monotonic() < deadline, "the second process never got anything to do"
        await send_more()
        await asyncio.sleep(0.3)
    await send_more()
    assert await first.terminate() == 0
    await send_more()
    await until(lambda: tallies.has_noted(len(wanted)), what="everything noted")
    await until(
        tallies.settled, what="the second process as the relay"
    )  # it takes over within a second of the first one's end
    assert await second.terminate() == 0
    await tallies.assert_exactly(wanted)


async def both_worked(tallies: Tallies) -> bool:
    async with connect(tallies.dsn) as connection:
        return bool(await connection.fetchval("SELECT count(DISTINCT applied_by) = 2 FROM tally"))


async def test_the_start_logs_what_it_waits_for_and_resumes_when_the_topics_exist(
    bench: Bench, database: MakeDatabase, service_process: StartService
) -> None:
    dsn = await database("runtime")  # its own migration is missing
    tallies = Tallies(bench, service_process, dsn)
    process = tallies.start()
    await until(lambda: says(process, "startup", "behind by alerts/0001_tally"), what="a red migrations check")
    assert (await tallies.run("migrate")).stdout.startswith("applied alerts/0001_tally")
    await process.wait_ready()


async def says(process: ServiceProcess, check: str, words: str) -> bool:
    try:
        return words in str((await process.readiness())["checks"][check]["detail"])
    except httpx.HTTPError:
        return False


async def test_rebuild_refills_the_read_model_and_replay_redrives_dead_letters(tallies: Tallies) -> None:
    wanted = [f"r{number}" for number in range(60)]
    await tallies.bench.send_many(TOPIC, [*(one.encode() for one in wanted), b"poison"])
    process = tallies.start()
    await until(lambda: tallies.has_noted(60))
    await until(lambda: tallies.bench.records("allocation.events.alerts.dlq"))
    assert await process.terminate() == 0
    async with connect(tallies.dsn) as connection:
        await connection.execute("INSERT INTO tally VALUES ('stale', 0)")

    rebuilt = await tallies.run("rebuild")
    assert rebuilt.returncode == 0, rebuilt.stderr
    assert "61 of 61 records applied" in rebuilt.stdout
    assert await tallies.noted() == Counter(wanted)

    replayed = await tallies.run("replay")
    assert replayed.returncode == 0, replayed.stderr
    assert "2 of 2 redriven" in replayed.stdout  # one from the first reading, one from the rebuild
    assert "0 redriven" in (await tallies.run("replay")).stdout
    originals = [record for record in await tallies.bench.records(TOPIC) if record.value == b"poison"]
    assert len(originals) == 1  # a redrive goes to the reader only, not to the topic
    tallies.start()
    dead = await until(lambda: letters(tallies, 4), what="the two, still poison, among the dead letters again")
    assert {record.value for record in dead} == {b"poison"}
    assert [value for record in dead for name, value in record.headers if name.endswith("-topic")] == [
        TOPIC.name.encode()
    ] * 4
    assert await tallies.noted() == Counter(wanted)


async def letters(tallies: Tallies, count: int) -> list[Any]:
    found = await tallies.bench.records("allocation.events.alerts.dlq")
    return found if len(found) == count else []


async def test_health_metrics_and_version_are_served(tallies: Tallies) -> None:
    process = tallies.start()
    await process.wait_ready()
    await tallies.bench.send_many(TOPIC, [b"r0", b"r1"])
    await until(lambda: tallies.has_noted(2))
    async with httpx.AsyncClient(base_url=process.url) as client:
        assert (await client.get("/healthz")).json()["status"] == "alive"
        assert (await client.get("/version")).json()["service"] == "alerts"
        ready = (await client.get("/readyz")).json()
        assert {"database", "broker", "migrations", "outbox", f"consumer:{TOPIC.name}"} <= set(ready["checks"])
        missing = await client.get("/nothing")
        assert missing.headers["content-type"] == "application/problem+json"
        assert missing.json()["code"] == "not_found"
        text = (await client.get("/metrics")).text
    families = {family.name for family in text_string_to_metric_families(text)}
    assert {
        "unitpool_consumer_lag_records",
        "unitpool_consumer_lag_seconds",
        "unitpool_outbox_pending",
        "unitpool_outbox_oldest_seconds",
        "unitpool_dead_letters",
        "unitpool_commands",
        "unitpool_command_seconds",
        "unitpool_http_requests",
        "unitpool_http_request_seconds",
        "process_resident_memory_bytes",
        "faststream_received_messages",
    } <= families


async def test_the_process_exits_with_2_and_one_clear_message_when_a_setting_is_invalid(tallies: Tallies) -> None:
    tallies.dsn = ""
    process = tallies.start(http_port="1")
    assert await process.wait_ended() == 2
    assert process.log is not None
    said = process.log.read_text()
    assert "UNITPOOL_ALERTS_DATABASE_URL is not set" in said
    assert "Traceback" not in said


async def test_the_process_exits_with_one_clear_message_when_its_port_is_taken(tallies: Tallies) -> None:
    first = tallies.start()
    await first.wait_ready()
    second = tallies.start(http_port=str(first.port))
    assert await second.wait_ended() == 2
    assert second.log is not None
    assert f"127.0.0.1:{first.port} is in use by another program" in second.log.read_text()


async def test_the_process_stops_quickly_when_it_waits_for_its_servers(tallies: Tallies) -> None:
    tallies.dsn = "postgresql://nobody:secret-word@127.0.0.1:1/none"
    process = tallies.start()
    await until(lambda: says(process, "startup", "waiting for PostgreSQL at 127.0.0.1:1/none"), what="a clear reason")
    async with httpx.AsyncClient(base_url=process.url) as client:
        early = await client.get("/anything")
        assert (early.status_code, early.json()["code"], early.headers["retry-after"]) == (503, "unavailable", "1")
        assert (await client.get("/metrics")).status_code == 200
    started = time.monotonic()
    assert await process.terminate() == 0
    assert time.monotonic() - started < 5
    assert process.log is not None
    assert "secret-word" not in process.log.read_text()


async def test_a_named_instance_gets_its_partitions_at_once_when_restarted_after_a_crash(tallies: Tallies) -> None:
    """Kafka gives a process of the same name its partitions at once.

    Without a name, it would wait until the session of the dead process expires: here half a minute.
    """
    named = {"group_instance_id": "one", "session_timeout_seconds": "30"}
    process = tallies.start(**named)
    await process.wait_ready()
    await tallies.bench.send(TOPIC, b"r0")
    await until(lambda: tallies.has_noted(1))
    process.kill()
    await tallies.bench.send(TOPIC, b"r1")
    tallies.start(**named)
    await until(lambda: tallies.has_noted(2), within_seconds=25)
    await tallies.assert_exactly(["r0", "r1"])
