"""The ingest API while Kafka hangs or is away: refusals, little memory, no loss."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

import httpx
import psutil
import pytest

from shared.runtime.process.clock import utc_now
from tests.conftest import StartService
from tests.support.builders.metering import event
from tests.support.drivers.metering import Metering, usage_request
from tests.support.drivers.metering_clients import until
from tests.support.drivers.processes import ServiceProcess
from tests.support.servers.databases import connect

IN_FLIGHT_BYTES = 256 * 1024
BATCH = 100
ACKNOWLEDGE_SECONDS = 5
MEMORY_MB = 32
"""Largest growth of the process, in MB.

About 5 MB are sent to it, and take many times that in memory.
"""

pytestmark = pytest.mark.timeout(600)


def batches(count: int, name: str, at: datetime) -> list[dict[str, Any]]:
    return [
        usage_request(*(event(f"{name}-{n}-{i}", at=at, resource=f"{name}-{n}-{i}") for i in range(BATCH)))
        for n in range(count)
    ]


@pytest.fixture
async def limited_process(metering: Metering, service_process: StartService) -> ServiceProcess:
    """Start a process with few bytes in flight and a short wait for acknowledgements."""
    metering.process.kill()
    settings = {
        "UNITPOOL_METERING_INGEST_IN_FLIGHT_BYTES": str(IN_FLIGHT_BYTES),
        "UNITPOOL_METERING_INGEST_ACKNOWLEDGE_SECONDS": str(ACKNOWLEDGE_SECONDS),
        "UNITPOOL_METERING_INGEST_KEY_EVENTS_PER_SECOND": "0",
    }
    process = service_process("metering", {**metering.env, **settings})
    await process.wait_ready(120)
    return process


async def post(http: httpx.AsyncClient, request: dict[str, Any]) -> int:
    """Post; return the status, or 0 when the connection broke.

    A refusal must have Retry-After.
    """
    try:
        answer = await http.post("/v1/usage", **request)
    except httpx.TransportError:
        return 0
    if answer.status_code != 202:
        assert answer.status_code in (429, 503), answer.text
        assert int(answer.headers["Retry-After"]) >= 1
        assert answer.json()["code"] == {429: "too_many_requests", 503: "unavailable"}[answer.status_code]
    return answer.status_code


async def post_until_accepted(http: httpx.AsyncClient, request: dict[str, Any]) -> None:
    """Post the same request until it is accepted, as a platform does."""
    for _ in range(150):
        if await post(http, request) == 202:
            return
        await asyncio.sleep(1)  # as Retry-After says
    raise AssertionError("it was never taken")


Kafka = Any
KafkaAction = Callable[[Kafka], Awaitable[None]]


async def paused(kafka: Kafka) -> None:
    kafka.pause()


async def killed(kafka: Kafka) -> None:
    await asyncio.to_thread(kafka.kill)


async def resumed(kafka: Kafka) -> None:
    kafka.resume()


async def restarted(kafka: Kafka) -> None:
    await asyncio.to_thread(kafka.restart)


@pytest.mark.parametrize(("stop", "restore"), [(paused, resumed), (killed, restarted)], ids=["paused", "killed"])
async def test_ingest_answers_429_or_503_and_loses_nothing_when_kafka_hangs_or_is_away(
    metering: Metering, limited_process: ServiceProcess, kafka_server: Kafka, stop: KafkaAction, restore: KafkaAction
) -> None:
    now = utc_now()
    requests = batches(80, "b", now)
    assert sum(len(request["content"]) for request in requests) > 5 * IN_FLIGHT_BYTES
    process = psutil.Process(limited_process.pid)
    limits = httpx.Limits(max_connections=40)
    async with httpx.AsyncClient(base_url=limited_process.url, timeout=60, limits=limits) as http:
        await post_until_accepted(http, batches(1, "before", now)[0])
        memory = process.memory_info().rss
        await stop(kafka_server)
        try:
            during = []
            for _ in range(2):
                during += await asyncio.gather(*(post(http, request) for request in requests))
            grown_mb = (process.memory_info().rss - memory) / 1e6
            assert (await http.get("/healthz")).status_code == 200
        finally:
            await restore(kafka_server)
        assert 202 not in during, "nothing can have been acknowledged"
        assert {429, 503} == set(during) - {0}, "some wait until their timeout, the others are refused at once"
        assert grown_mb < MEMORY_MB
        await asyncio.gather(*(post_until_accepted(http, request) for request in requests))
    async with connect(metering.dsn) as connection:

        async def counted() -> int:
            return int(await connection.fetchval("SELECT count(*) FROM usage"))

        wanted = (len(requests) + 1) * BATCH
        assert await until(counted, lambda count: count >= wanted) == wanted
    assert (await metering.books())["quarantined"] == 0
