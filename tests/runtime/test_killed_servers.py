"""A service process while PostgreSQL or Kafka is killed or hangs."""

import json
import time
from typing import Any

import httpx

from deploy.local.postgres import PostgresServer
from shared.events.topics import ALLOCATION_EVENTS_TOPIC
from tests.support.drivers.processes import ServiceProcess
from tests.support.drivers.runtime import until
from tests.support.drivers.tallies import Tallies
from tests.support.servers.local import durable_postgres  # noqa: F401 - the fixture postgres_server

TOPIC = ALLOCATION_EVENTS_TOPIC


async def test_a_service_recovers_when_postgres_and_kafka_are_killed(
    tallies: Tallies, postgres_server: PostgresServer, kafka_server: Any
) -> None:
    wanted = [f"r{number}" for number in range(300)]
    process = tallies.start(handler_seconds="0.05")
    await process.wait_ready()
    await tallies.bench.send_many(TOPIC, [one.encode() for one in wanted[:150]])
    await until(lambda: tallies.has_noted(20))
    postgres_server.kill()
    postgres_server.restart()
    await until(lambda: tallies.has_noted(100))
    kafka_server.kill()
    kafka_server.restart()
    await tallies.bench.send_many(TOPIC, [one.encode() for one in wanted[150:]])
    await until(lambda: tallies.has_noted(300), within_seconds=60)
    await process.wait_ready()
    await tallies.assert_exactly(wanted)


async def test_a_service_stays_ready_and_logs_it_once_when_kafka_is_away(tallies: Tallies, kafka_server: Any) -> None:
    """Requests answered from the database are served.

    Repeated log lines are limited.
    """
    process = tallies.start()
    await process.wait_ready()
    kafka_server.kill()
    try:
        await until(lambda: is_degraded(process))
        before = len(lines(process))
        await until(lambda: lasts(process, seconds=25), within_seconds=90)
        said = lines(process)[before:]
        assert len(said) < 100, said[-10:]
    finally:
        kafka_server.restart()
    await tallies.bench.send_many(TOPIC, [b"after"])
    await until(lambda: tallies.has_noted(1))
    await until(lambda: is_degraded(process, no_longer=True))


async def test_a_service_stays_ready_when_kafka_hangs(tallies: Tallies, kafka_server: Any) -> None:
    process = tallies.start()
    await process.wait_ready()
    kafka_server.pause()
    try:
        await until(lambda: is_degraded(process))
    finally:
        kafka_server.resume()
    await tallies.bench.send_many(TOPIC, [b"after"])
    await until(lambda: tallies.has_noted(1))
    await until(lambda: is_degraded(process, no_longer=True))


async def is_degraded(process: ServiceProcess, *, no_longer: bool = False) -> bool:
    async with httpx.AsyncClient(timeout=10) as client:
        answer = await client.get(f"{process.url}/readyz")
    assert answer.status_code == 200, answer.text
    return bool((answer.json()["status"] == "ready") if no_longer else (answer.json()["status"] == "degraded"))


_SINCE: dict[int, float] = {}


async def lasts(process: ServiceProcess, *, seconds: float) -> bool:
    """Whether ``seconds`` have passed since the first call.

    The service must be degraded at every call.
    """
    since = _SINCE.setdefault(process.pid, time.monotonic())
    assert await is_degraded(process)
    return time.monotonic() - since > seconds


def lines(process: ServiceProcess) -> list[dict[str, Any]]:
    assert process.log
    return [json.loads(line) for line in process.log.read_text().splitlines() if line.startswith("{")]
