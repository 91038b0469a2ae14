"""Start without Kafka: reads are served, and consumption begins later."""

import asyncio
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import httpx

from deploy.local.ports import free_port
from tests.conftest import StartService
from tests.support.builders.published import PRIMARY
from tests.support.drivers.processes import ServiceProcess, service_env
from tests.support.drivers.reporting_processes import ReportingProcesses, sell_subscription
from tests.support.servers.frozen import Freezer
from tests.support.servers.token_issuer import Issuer

DEADLINE_SECONDS = 60


@asynccontextmanager
async def leading(port: int, to: str) -> Any:
    """Forward a port to Kafka, which then names its own address."""
    server = await asyncio.start_server(Freezer(f"kafka://{to}").serve, "127.0.0.1", port)
    try:
        yield
    finally:
        server.close()


async def until_answers(service: ServiceProcess) -> None:
    """Wait until it serves its read models."""
    async with httpx.AsyncClient() as http, asyncio.timeout(DEADLINE_SECONDS):
        while True:
            try:
                if (await http.get(f"{service.url}/v1/me")).status_code == 401:
                    return
            except httpx.HTTPError:
                pass
            await asyncio.sleep(0.05)


async def test_reads_are_served_and_writes_wait_until_kafka_is_available(  # fixtures
    processes: ReportingProcesses,
    kafka_server: Any,
    topic_prefix: str,
    service_process: StartService,
    shared_issuer: Issuer,
) -> None:
    subscription = await sell_subscription(processes)
    path = f"/v1/subscriptions/{subscription}"
    assert await processes.service.terminate() == 0

    port = free_port()
    dsn = processes.env["UNITPOOL_REPORTING_DATABASE_URL"]
    env = service_env("reporting", dsn=dsn, kafka=f"127.0.0.1:{port}", topic_prefix=topic_prefix)
    env |= {"UNITPOOL_REPORTING_OIDC_ISSUER": shared_issuer.url, "UNITPOOL_REPORTING_COMMAND_WAIT_SECONDS": "1"}
    service = service_process("reporting", env)
    await until_answers(service)
    early = ReportingProcesses(shared_issuer, service, env)
    try:
        for one in ("/v1/me", path, f"{path}/usage", f"{path}/allocations", "/v1/accounts", "/v1/audit"):
            assert (await early.ask("GET", one)).status_code == 200, one
        ready = await early.ask("GET", "/readyz")
        assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
        assert ready.json()["checks"]["broker"]["ok"] is False
        key = {"Idempotency-Key": str(uuid4())}
        body = {"product": "scan", "units": 10}
        write = await early.ask("POST", f"{path}/allocations", PRIMARY, json=body, headers=key)
        assert (write.status_code, write.headers["location"]) == (202, f"/v1/commands/{key['Idempotency-Key']}")
        async with leading(port, kafka_server.bootstrap_servers):
            async with asyncio.timeout(DEADLINE_SECONDS):
                while (await early.ask("GET", write.headers["location"], PRIMARY)).json()["status"] != "accepted":  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
            assert (await early.ask("GET", path)).json()["allocated"] == 10
            await service.wait_ready()
            assert (await service.readiness())["status"] == "ready"
            assert (await early.done(f"{path}/allocations", {"product": "hub", "units": 5}, PRIMARY))["allocated"] == 15
    finally:
        await early.close()
