"""Reporting on a real database, with an issuer of its own."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from tests.component.reporting.issuer import Issuer, issuing
from tests.component.reporting.office import Office
from tests.component.reporting.states import account, created, product
from tests.component.reporting.world import World, reporting
from tests.conftest import MakeDatabase, StartService
from tests.processes import ServiceProcess, service_env


@pytest.fixture(scope="session")
def shared_issuer() -> Iterator[Issuer]:
    """Making keys is slow: one for all."""
    with issuing() as issuer:
        yield issuer


@pytest.fixture
async def empty(database: MakeDatabase, shared_issuer: Issuer) -> AsyncIterator[World]:
    """Nothing is known yet."""
    async with reporting(await database("reporting"), shared_issuer) as world:
        yield world


@pytest.fixture
async def world(empty: World) -> World:
    """Acme, the product, and Acme's subscription."""
    await empty.apply(account(), product(), created())
    return empty


@pytest.fixture
async def allocation(office: Office) -> ServiceProcess:
    """The one behind the office."""
    return office.allocation


@pytest.fixture
async def office(
    database: MakeDatabase,
    kafka_server: Any,
    topic_prefix: str,
    service_process: StartService,
    shared_issuer: Issuer,
) -> AsyncIterator[Office]:
    """Both services."""
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
    office = Office(shared_issuer, services[1], env["reporting"], services[0])
    yield office
    await office.close()
