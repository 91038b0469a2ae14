"""Reporting and allocation as real processes, with real Kafka between them."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.component.reporting.issuer import Issuer
from tests.component.reporting.states import PRIMARY, STRANGER, VENDOR
from tests.conftest import MakeDatabase, StartService
from tests.processes import ROOT, ServiceProcess, service_env


class Office:
    """People in front of the API."""

    def __init__(self, issuer: Issuer, service: ServiceProcess, env: dict[str, str]) -> None:
        self.service = service
        self._env = env
        self._issuer = issuer
        self._http = httpx.AsyncClient(timeout=20)

    async def ask(self, method: str, path: str, who: str = VENDOR, **arguments: Any) -> httpx.Response:
        """A request of somebody."""
        token = self._issuer.token(who, vendor=who == VENDOR)
        headers = {"authorization": f"Bearer {token}", **arguments.pop("headers", {})}
        return await self._http.request(method, f"{self.service.url}{path}", headers=headers, **arguments)

    async def done(self, path: str, body: Any, who: str = VENDOR, method: str = "POST") -> Any:
        """A write that is carried out."""
        answer = await self.ask(method, path, who, json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def refused(self, path: str, body: Any, who: str = VENDOR, **headers: str) -> Any:
        """A write that is refused."""
        answer = await self.ask("POST", path, who, json=body, headers=headers)
        assert 400 <= answer.status_code < 500, answer.text
        return answer.json()

    @asynccontextmanager
    async def watch(self, path: str, who: str) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
        """What a live stream tells."""
        headers = {"authorization": f"Bearer {self._issuer.token(who)}"}
        async with self._http.stream("GET", f"{self.service.url}{path}", headers=headers) as answer:
            assert answer.status_code == 200
            yield (json.loads(line[5:]) async for line in answer.aiter_lines() if line.startswith("data:"))

    async def rebuild(self) -> None:
        """Empty the read models and fill them again, beside the service."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "services.reporting", "rebuild", cwd=ROOT, env={**os.environ, **self._env}
        )
        assert await asyncio.wait_for(process.wait(), 60) == 0

    async def close(self) -> None:
        """Enough."""
        await self._http.aclose()


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
    office = Office(shared_issuer, services[1], env["reporting"])
    yield office
    await office.close()


async def sold(office: Office) -> str:
    """A customer with 1,000 units and two products; the subscription's id."""
    await office.done("/v1/accounts", {"id": "acme", "name": "Acme"})
    await office.done("/v1/accounts/acme/flex", {"enabled": True, "reason": "ordered"}, method="PUT")
    for product in ("scan", "hub"):
        await office.done("/v1/catalogue/products", {"id": product, "name": product.title()})
        meter = {"id": "host", "name": "Hosts", "aggregation": "unique", "units": 1, "block": 1}
        await office.done(f"/v1/catalogue/products/{product}/meters", meter)
    contact = {"email": PRIMARY, "name": "Paula"}
    body = {"account": "acme", "name": "Acme Flex", "model": "flex", "primary_contact": contact}
    times = {"start": "2026-01-01T00:00:00Z", "end": "2028-01-01T00:00:00Z"}
    subscription = (await office.done("/v1/subscriptions", {**body, **times}))["id"]
    await office.done(f"/v1/subscriptions/{subscription}/purchases", {"units": 1000, "order_reference": "PO-1"})
    for product in ("scan", "hub"):
        await office.done(f"/v1/subscriptions/{subscription}/products", {"product": product}, PRIMARY)
    return str(subscription)


async def test_pool_is_bought_allocated_and_rebalanced_when_asked_through_the_api(office: Office) -> None:
    subscription = await sold(office)
    path = f"/v1/subscriptions/{subscription}"
    first = await office.done(f"{path}/allocations", {"product": "scan", "units": 600}, PRIMARY)
    assert (first["purchased"], first["allocated"], first["unallocated"]) == (1000, 600, 400)
    assert "command_id" in first

    refusal = await office.refused(f"{path}/allocations", {"product": "hub", "units": 500}, PRIMARY)
    assert refusal["code"] == "insufficient_units"
    assert (refusal["purchased"], refusal["allocated"], refusal["available"]) == (1000, 600, 400)
    assert (await office.refused(f"{path}/allocations", {"product": "hub", "units": 1}, STRANGER))[
        "code"
    ] == "not_found"

    plan = {"changes": [{"product": "scan", "units": 300}, {"product": "hub", "units": 700}]}
    preview = await office.done(f"{path}/rebalances", {**plan, "preview": True}, PRIMARY)
    assert (preview["preview"], preview["unallocated_after"], preview["starts_clock"]) == (True, 0, True)
    assert (await office.ask("GET", path, PRIMARY)).json()["allocated"] == 600
    applied = await office.done(f"{path}/rebalances", plan, PRIMARY)
    assert {one["product"]: one["allocated"] for one in applied["products"]} == {"scan": 300, "hub": 700}
    assert applied["rebalance"]["allowed"] is False
    late = await office.refused(f"{path}/rebalances", {"changes": [{"product": "hub", "units": 1}]}, PRIMARY)
    assert late["code"] == "rebalance_too_soon"
    assert late["next_allowed_at"]
    stale = await office.refused(
        f"{path}/rebalances", {"changes": [{"product": "hub", "units": 700}]}, PRIMARY, **{"If-Match": '"1"'}
    )
    assert stale["code"] == "stale_version"
    history = (await office.ask("GET", f"{path}/allocations", PRIMARY)).json()["items"]
    assert [one["kind"] for one in history] == ["rebalance", "rebalance", "allocation"]
    assert {one["actor"] for one in history} == {PRIMARY}


async def test_repeat_has_one_effect_when_many_arrive_at_once(office: Office) -> None:
    subscription = await sold(office)
    path, key = f"/v1/subscriptions/{subscription}", {"Idempotency-Key": str(uuid4())}
    body = {"units": 50, "order_reference": "PO-2"}
    answers = await asyncio.gather(*(office.ask("POST", f"{path}/purchases", json=body, headers=key) for _ in range(8)))
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.json()["purchased"] for answer in answers} == {1050}
    other = await office.ask("POST", f"{path}/purchases", json={**body, "units": 51}, headers=key)
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_key_reused")
    audit = (await office.ask("GET", "/v1/audit")).json()["items"]
    assert audit


async def test_stream_tells_of_a_change_and_does_not_hold_up_a_stop(office: Office) -> None:
    subscription = await sold(office)
    path = f"/v1/subscriptions/{subscription}"
    async with office.watch(f"{path}/stream", PRIMARY) as told:
        assert (await asyncio.wait_for(anext(told), 10))["what"] == "missed"
        await office.done(f"{path}/allocations", {"product": "scan", "units": 10}, PRIMARY)
        assert (await asyncio.wait_for(anext(told), 10)) == {"subscription": subscription, "what": "subscription"}
        assert await office.service.terminate(10) == 0


async def test_read_models_are_the_same_after_a_rebuild(office: Office) -> None:
    subscription = await sold(office)
    path = f"/v1/subscriptions/{subscription}"
    key = {"Idempotency-Key": str(uuid4())}
    body = {"product": "scan", "units": 10}
    await office.ask("POST", f"{path}/allocations", PRIMARY, json=body, headers=key)
    paths = ["/v1/accounts", "/v1/catalogue/products", path, f"{path}/allocations", "/v1/audit"]
    before = [(await office.ask("GET", one)).json() for one in paths]
    await office.rebuild()
    assert [(await office.ask("GET", one)).json() for one in paths] == before
    again = await office.ask("POST", f"{path}/allocations", PRIMARY, json=body, headers=key)
    assert (again.status_code, again.json()["version"]) == (200, before[2]["version"])
