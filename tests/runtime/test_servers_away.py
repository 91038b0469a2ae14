"""Readiness and metrics of a service while one of its servers is away or hangs."""

import asyncio
import time

import httpx
import pytest

from deploy.local.ports import free_port
from tests.conftest import StartService
from tests.support.drivers.processes import ServiceProcess
from tests.support.drivers.runtime import until
from tests.support.drivers.tallies import MODULE, Tallies
from tests.support.servers.databases import connect
from tests.support.servers.frozen import freezer

ANSWER_SECONDS = 4.0
"""Longest answer in seconds: the limit is 3 s; the rest allows for a busy machine."""


async def timed(process: ServiceProcess, path: str) -> tuple[float, httpx.Response]:
    started = time.monotonic()
    async with httpx.AsyncClient(timeout=60) as client:
        answer = await client.get(f"{process.url}{path}")
    return time.monotonic() - started, answer


async def test_readiness_and_metrics_answer_in_time_when_postgres_hangs(tallies: Tallies) -> None:
    async with freezer(tallies.dsn) as between:
        process = tallies.start(database_url=between.dsn)
        await process.wait_ready()
        between.freeze()
        for _ in range(3):  # a check that hangs must not delay the next answer
            for path in ("/readyz", "/metrics", "/healthz"):
                seconds, answer = await timed(process, path)
                assert seconds < ANSWER_SECONDS, path
                assert answer.status_code == (503 if path == "/readyz" else 200)
        assert not (await timed(process, "/readyz"))[1].json()["checks"]["database"]["ok"]
        between.thaw()
        await process.wait_ready()


async def test_a_service_is_open_and_degraded_when_it_starts_before_kafka(
    tallies: Tallies, service_process: StartService
) -> None:
    nowhere = f"127.0.0.1:{free_port()}"
    env = tallies.env() | {"UNITPOOL_KAFKA_BOOTSTRAP_SERVERS": nowhere}
    process = service_process("alerts", env, module=MODULE)

    async def is_degraded() -> bool:
        try:
            _, answer = await timed(process, "/readyz")
        except httpx.HTTPError:
            return False
        return answer.status_code == 200 and answer.json()["status"] == "degraded"

    await until(is_degraded)
    report = (await timed(process, "/readyz"))[1].json()["checks"]
    assert f"waiting for Kafka at {nowhere}" in report["startup"]["detail"]
    assert not report["broker"]["ok"]
    assert report["database"]["ok"]
    _, unknown = await timed(process, "/nothing")
    assert unknown.status_code == 404  # the service is open, else the answer would be "the service is starting"


async def test_the_service_is_not_ready_when_only_the_database_is_away(tallies: Tallies) -> None:
    async with freezer(tallies.dsn) as between:
        between.freeze()
        process = tallies.start(database_url=between.dsn)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(6):
                await process.wait_ready()
        seconds, answer = await timed(process, "/readyz")
        assert seconds < ANSWER_SECONDS
        assert answer.status_code == 503
        between.thaw()
        await process.wait_ready()
    async with connect(tallies.dsn) as connection:
        assert await connection.fetchval("SELECT true")
