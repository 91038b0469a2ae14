"""Fixtures: reporting with its own token issuer, alone or with allocation."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from tests.conftest import MakeDatabase, StartService
from tests.support.builders.published import account, created, product, team
from tests.support.drivers.processes import ServiceProcess, service_env
from tests.support.drivers.reporting import ReportingDriver, reporting
from tests.support.drivers.reporting_processes import ReportingProcesses
from tests.support.servers.token_issuer import Issuer, issuing


@pytest.fixture(scope="session")
def shared_issuer() -> Iterator[Issuer]:
    """Start one token issuer for all tests, since generating keys is slow."""
    with issuing() as issuer:
        yield issuer


@pytest.fixture
async def empty(database: MakeDatabase, shared_issuer: Issuer) -> AsyncIterator[ReportingDriver]:
    """Start reporting with empty read models."""
    async with reporting(await database("reporting"), shared_issuer) as driver:
        yield driver


@pytest.fixture
async def driver(empty: ReportingDriver) -> ReportingDriver:
    """Start reporting with an account, a product and a subscription."""
    await empty.apply(account(), product(), *team(), created())
    return empty


@pytest.fixture
async def allocation(processes: ReportingProcesses) -> ServiceProcess:
    """Return allocation's process."""
    return processes.allocation


@pytest.fixture
async def processes(
    database: MakeDatabase,
    kafka_server: Any,
    topic_prefix: str,
    service_process: StartService,
    shared_issuer: Issuer,
) -> AsyncIterator[ReportingProcesses]:
    """Start reporting and allocation as processes."""
    env = {}
    for name in ("allocation", "reporting"):
        env[name] = service_env(
            name, dsn=await database(name), kafka=kafka_server.bootstrap_servers, topic_prefix=topic_prefix
        )
    env["reporting"]["UNITPOOL_REPORTING_OIDC_ISSUER"] = shared_issuer.url
    env["reporting"]["UNITPOOL_REPORTING_COMMAND_WAIT_SECONDS"] = "10"
    services = [service_process(name, env[name]) for name in env]
    for service in services:
        await service.wait_ready()
    processes = ReportingProcesses(shared_issuer, services[1], env["reporting"], services[0])
    yield processes
    await processes.close()
