"""SIGTERM: readiness ends first, and no request is refused or unanswered."""

import asyncio
import os
import signal
import time
from uuid import uuid4

import httpx
import pytest

from tests.conftest import StartService
from tests.support.builders.published import PRIMARY
from tests.support.drivers.processes import ServiceProcess
from tests.support.drivers.reporting_processes import ReportingProcesses, sell_subscription


async def test_streams_end_and_a_waiting_write_answers_202_when_the_process_stops(
    processes: ReportingProcesses, allocation: ServiceProcess
) -> None:
    subscription = await sell_subscription(processes)
    path, key = f"/v1/subscriptions/{subscription}", str(uuid4())

    async def streamed() -> list[str]:
        async with processes.watch(f"{path}/stream", PRIMARY) as changes:
            return [one["what"] async for one in changes]

    os.kill(allocation.pid, signal.SIGSTOP)
    try:
        streams = [asyncio.create_task(streamed()) for _ in range(10)]
        write = asyncio.create_task(
            processes.ask(
                "PUT",
                f"{path}/products/scan/policy",
                PRIMARY,
                json={"overage": "hard"},
                headers={"Idempotency-Key": key},
            )
        )
        await processes.until_streams(10)
        began = time.monotonic()
        assert await processes.service.terminate(10) == 0
        assert time.monotonic() - began < 6, "it did not wait for the outcome"
        answer = await write
        assert (answer.status_code, answer.headers["idempotency-key"]) == (202, key)
        assert answer.headers["location"] == f"/v1/commands/{key}"
        for changes in await asyncio.gather(*streams):
            assert changes[0] == "missed"
    finally:
        os.kill(allocation.pid, signal.SIGCONT)
    log = processes.service.log
    assert log is not None
    assert "Traceback" not in log.read_text()
    assert "ASGI" not in log.read_text()


@pytest.mark.parametrize(("setting", "is_open"), [("75", True), ("1", False)])
async def test_idle_connection_stays_open_for_the_configured_time(
    processes: ReportingProcesses, service_process: StartService, setting: str, is_open: bool
) -> None:
    service = service_process("reporting", processes.env | {"UNITPOOL_REPORTING_HTTP_KEEP_ALIVE_SECONDS": setting})
    await service.wait_ready()
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    try:
        writer.write(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        assert await reader.readuntil(b"\r\n") == b"HTTP/1.1 200 OK\r\n"
        try:
            async with asyncio.timeout(8):  # longer than uvicorn's own five seconds
                while await reader.read(1000):
                    pass
        except TimeoutError:
            assert is_open
            writer.write(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
            assert await reader.readuntil(b"\r\n") == b"HTTP/1.1 200 OK\r\n"
        else:
            assert not is_open
    finally:
        writer.close()


async def test_no_request_is_refused_when_readiness_ends_first(processes: ReportingProcesses) -> None:
    statuses: list[int] = []
    closing = asyncio.Event()

    async def client() -> None:
        async with httpx.AsyncClient(base_url=processes.service.url) as http:
            while not closing.is_set():
                answer = await http.get("/v1/me")
                statuses.append(answer.status_code)
                if answer.headers.get("connection") == "close":
                    closing.set()

    async with httpx.AsyncClient(base_url=processes.service.url) as probe, asyncio.TaskGroup() as tasks:
        for _ in range(8):
            tasks.create_task(client())
        while len(statuses) < 50:  # noqa: ASYNC110  # they are on their way
            await asyncio.sleep(0.01)
        os.kill(processes.service.pid, signal.SIGTERM)
        await asyncio.wait_for(closing.wait(), 5)
        ready = await probe.get("/readyz")
        assert (ready.status_code, ready.json()["checks"]["stopping"]["ok"]) == (503, False)
    assert set(statuses) == {401}
    assert await processes.service.wait_ended() == 0
