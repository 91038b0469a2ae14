"""A proposed plan is previewed and applied by allocation, with real Kafka between."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from services.reporting.domain.insights.series import MeasuredWindow
from shared.events.topics import CONSUMPTION_TOPIC, REPORTING_EVENTS_TOPIC
from shared.windows import Calendar
from tests.conftest import MakeDatabase, StartService
from tests.support.builders.insights import snapshots_of
from tests.support.builders.published import PRIMARY
from tests.support.drivers.processes import service_env
from tests.support.drivers.reporting_processes import ReportingProcesses
from tests.support.drivers.runtime import Bench, event, until
from tests.support.servers.databases import as_owner, connect
from tests.support.servers.token_issuer import Issuer


@dataclass(frozen=True)
class Services:
    """Reporting and allocation, allocation's database, and a producer beside them."""

    processes: ReportingProcesses
    allocation_dsn: str
    bench: Bench


@pytest.fixture
async def services(
    database: MakeDatabase, kafka_server: Any, topic_prefix: str, service_process: StartService, shared_issuer: Issuer
) -> AsyncIterator[Services]:
    """Start both services."""
    kafka = kafka_server.bootstrap_servers
    dsns = {name: await database(name) for name in ("allocation", "reporting")}
    env = {name: service_env(name, dsn=dsn, kafka=kafka, topic_prefix=topic_prefix) for name, dsn in dsns.items()}
    env["reporting"]["UNITPOOL_REPORTING_OIDC_ISSUER"] = shared_issuer.url
    env["reporting"]["UNITPOOL_REPORTING_COMMAND_WAIT_SECONDS"] = "10"
    env["reporting"]["UNITPOOL_REPORTING_INSIGHTS_POLL_SECONDS"] = "3600"  # the command makes the forecast
    started = [service_process(name, env[name]) for name in env]
    for service in started:
        await service.wait_ready()
    processes = ReportingProcesses(shared_issuer, started[1], env["reporting"], started[0])
    producer = AIOKafkaProducer(bootstrap_servers=kafka, enable_idempotence=True)
    await producer.start()
    yield Services(processes, dsns["allocation"], Bench(dsns["reporting"], kafka, topic_prefix, producer))
    await producer.stop()
    await processes.close()


def windows_until(now: datetime, start: datetime, product: str, level: int) -> list[MeasuredWindow]:
    """Build a product's windows of equal levels, the open one first."""
    calendar = Calendar((start,))
    window, rows = calendar.window_at(now), []
    while window.start >= start:
        rows.append(MeasuredWindow(product, window.start, window.end, 1, level, 0, min(window.end, now)))
        window = calendar.before(window)
    return rows


async def sell(processes: ReportingProcesses, start: datetime) -> str:
    """Sell a pool of 500 units, of which ``scan`` has 300 and ``hub`` 200."""
    await processes.done("/v1/accounts", {"id": "acme", "name": "Acme"})
    await processes.done("/v1/accounts/acme/flex", {"enabled": True, "reason": "ordered"}, method="PUT")
    for product in ("scan", "hub"):
        await processes.done("/v1/catalogue/products", {"id": product, "name": product.title()})
        meter = {"id": "host", "name": "Hosts", "aggregation": "unique", "units": 1, "block": 1}
        await processes.done(f"/v1/catalogue/products/{product}/meters", meter)
    body = {"account": "acme", "name": "Acme", "model": "flex", "primary_contact": {"email": PRIMARY, "name": "Paula"}}
    times = {"start": start.isoformat(), "end": (start + timedelta(days=365)).isoformat()}
    path = f"/v1/subscriptions/{(await processes.done('/v1/subscriptions', {**body, **times}))['id']}"
    await processes.done(f"{path}/purchases", {"units": 500, "order_reference": "PO-1"})
    for product, units in (("scan", 300), ("hub", 200)):
        await processes.done(f"{path}/products", {"product": product}, PRIMARY)
        await processes.done(f"{path}/allocations", {"product": product, "units": units}, PRIMARY)
    return path


async def test_a_proposed_plan_is_previewed_and_applied_as_it_is(services: Services) -> None:
    processes, bench = services.processes, services.bench
    now = datetime.now(UTC).replace(microsecond=0)
    start = (now - timedelta(days=200)).replace(hour=0, minute=0, second=0)
    path = await sell(processes, start)
    async with connect(as_owner(services.allocation_dsn)) as connection:
        await connection.execute("UPDATE allocations SET subscribed_at = $1", start)
    await processes.done(f"{path}/products/hub/policy", {"overage": "reserve"}, PRIMARY, method="PUT")
    for product, level in (("scan", 400), ("hub", 20)):
        for snapshot in snapshots_of(windows_until(now, start, product, level), path.rpartition("/")[2]):
            await bench.send(CONSUMPTION_TOPIC, event(snapshot).encode(), key=snapshot.key.encode())

    async def measured() -> Any:
        body = (await processes.ask("GET", f"{path}/insights", PRIMARY)).json()
        levels = {point["high"] for product in body["products"] for point in product["points"]}
        return levels == {400, 20} and body

    proposal = (await until(measured, within_seconds=30, what="all windows"))["proposal"]
    assert [(one["product"], one["before"], one["after"]) for one in proposal["changes"]] == [
        ("scan", 300, 400),
        ("hub", 200, 100),
    ]
    preview = await processes.done(f"{path}/rebalances", proposal["preview"], PRIMARY)
    assert (preview["allowed"], preview["unallocated_after"], preview["starts_clock"]) == (True, 0, True)
    assert [(one["product"], one["allocated"]) for one in preview["after"]] == [("scan", 400), ("hub", 100)]

    body = {"changes": proposal["preview"]["changes"]}
    stale = await processes.refused(f"{path}/rebalances", body, PRIMARY, **_match(proposal["for_version"] - 1))
    assert stale["code"] == "stale_version"
    applied = await processes.ask(
        "POST", f"{path}/rebalances", PRIMARY, json=body, headers=_match(proposal["for_version"])
    )
    assert applied.status_code == 200, applied.text
    assert [(one["product"], one["allocated"]) for one in applied.json()["products"]] == [("scan", 400), ("hub", 100)]

    after = (await processes.ask("GET", f"{path}/insights", PRIMARY)).json()
    assert (after["proposal"], after["version"]) == (None, proposal["for_version"] + 1)
    assert after["proposal_reason"].startswith("No product is expected to need more than it is allocated until ")
    again = await processes.refused(f"{path}/rebalances", body, PRIMARY, **_match(proposal["for_version"]))
    assert again["code"] == "stale_version", "the plan was made for the former version"

    assert "1 forecasts made, 0 failed" in await processes.run("insights")
    await until(lambda: _forecasts(bench, path), what="the published forecast")


def _match(version: int) -> dict[str, str]:
    return {"If-Match": f'"{version}"'}


async def _forecasts(bench: Bench, path: str) -> bool:
    keys = [record.key.decode() for record in await bench.records(REPORTING_EVENTS_TOPIC)]
    return path.rpartition("/")[2] in keys
