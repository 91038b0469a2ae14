"""The OpenAPI document against the running services: every answer matches it.

The requests are the same in every run. Each operation is requested with existing and unknown ids, and with valid and
invalid bodies; writes are carried out by the service that owns them.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.core.result import Ok
from schemathesis.schemas import APIOperation, BaseSchema
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.conftest import MakeDatabase, StartService
from tests.support.builders.published import PRIMARY, VENDOR, VIEWER
from tests.support.drivers.processes import service_env
from tests.support.drivers.reporting_processes import ReportingProcesses, sell_subscription
from tests.support.servers.token_issuer import Issuer

pytestmark = pytest.mark.timeout(300)

Operation = APIOperation[Any, Any, Any, Any]
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
NEAR, ODD, FAR = 5, 2, 4
"""Requests per operation, by kind.

They are with existing ids, with any ids, and with invalid bodies.
"""
NOTHING = "no-such-thing"
ENDLESS = "/v1/subscriptions/{subscription}/stream"
_LAST = ("/cancel", "/retire", "/convert", "/primary-contact", "/products/{product}", "/people/{email}", "/flex")
"""Operations that are requested last.

Their effects change the answers of others.
"""


@pytest.fixture
async def all_services(
    database: MakeDatabase,
    kafka_server: Any,
    topic_prefix: str,
    service_process: StartService,
    shared_issuer: Issuer,
) -> AsyncIterator[ReportingProcesses]:
    """Start all four services."""
    env = {}
    for name in ("allocation", "metering", "alerts", "reporting"):
        env[name] = service_env(
            name, dsn=await database(name), kafka=kafka_server.bootstrap_servers, topic_prefix=topic_prefix
        )
    env["reporting"]["UNITPOOL_REPORTING_OIDC_ISSUER"] = shared_issuer.url
    services = {name: service_process(name, env[name]) for name in env if name != "reporting"}
    env["reporting"]["UNITPOOL_REPORTING_METERING_URL"] = services["metering"].url
    services["reporting"] = service_process("reporting", env["reporting"])
    for service in services.values():
        await service.wait_ready()
    processes = ReportingProcesses(shared_issuer, services["reporting"], env["reporting"])
    yield processes
    await processes.close()


async def furnished(processes: ReportingProcesses) -> dict[str, str]:
    """Create one resource of every kind; return their ids by path parameter."""
    subscription = await sell_subscription(processes)
    path = f"/v1/subscriptions/{subscription}"
    prices = {"currency": "EUR", "list_price_minor": 1000, "tiers": [{"from_units": 0, "discount_basis_points": 0}]}
    await processes.done("/v1/price-list", prices, method="PUT")
    await processes.done("/v1/accounts/acme/people", {"email": VIEWER, "name": "Victor"}, PRIMARY)
    await processes.done("/v1/accounts/acme/roles/scan-reader/members", {"email": VIEWER}, PRIMARY)
    await processes.done(f"{path}/grants/{VIEWER}", {"grants": ["viewer"]}, PRIMARY, method="PUT")
    await processes.done(f"{path}/allocations", {"product": "scan", "units": 100}, PRIMARY)
    key = await processes.done("/v1/ingest-keys", {"product": "scan"})
    channel = await processes.done(f"{path}/alert-channels", {"url": "https://hooks.acme.example/"}, PRIMARY)
    purchase = await processes.done(f"{path}/purchases", {"units": 1, "order_reference": "PO-9"})
    lots = (await processes.ask("GET", f"{path}/purchases")).json()["items"]
    return {
        "subscription": subscription,
        "account": "acme",
        "product": "scan",
        "role": "scan-reader",
        "email": VIEWER,
        "key": key["id"],
        "channel": channel["id"],
        "lot": lots[0]["id"],
        "command_id": purchase["command_id"],
    }


async def test_every_answer_matches_the_openapi_document(
    all_services: ReportingProcesses, shared_issuer: Issuer
) -> None:
    ids = await furnished(all_services)
    document = (await all_services.ask("GET", "/v1/openapi.json")).json()
    schema = schemathesis.openapi.from_dict(strict(document))
    requester = Requester(all_services.service.url, shared_issuer)
    began = time.monotonic()
    for operation in sorted(operations(schema), key=lambda one: (one.path.endswith(_LAST), one.label)):
        await asyncio.to_thread(requester.request_all, operation, ids)
    print(f"{requester.count} requests in {time.monotonic() - began:.0f} s: {sorted(requester.statuses.items())}")
    assert len(requester.operations) > 60
    assert requester.statuses[200] > 100, requester.statuses


def test_answer_is_reported_when_it_does_not_match_the_document() -> None:
    shape = {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]}
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Thing"}}}
    document = {
        "openapi": "3.1.0",
        "info": {"title": "Things", "version": "1"},
        "paths": {"/v1/thing": {"get": {"responses": {"200": {"description": "", "content": content}}}}},
        "components": {"schemas": {"Thing": shape}},
    }
    (operation,) = operations(schemathesis.openapi.from_dict(strict(document)))
    for status, body, fits in (
        (200, {"id": "x"}, True),
        (200, {"id": 1}, False),
        (200, {}, False),
        (200, {"id": "x", "more": 1}, False),
        (404, {"id": "x"}, False),
        (500, {"id": "x"}, False),
    ):
        request = httpx.Request("GET", "http://test/v1/thing")
        answer = httpx.Response(status, json=body, request=request)
        answer.elapsed = timedelta()
        case = operation.Case()
        if fits:
            case.validate_response(answer, checks=CHECKS)
        else:
            with pytest.raises(FailureGroup):
                case.validate_response(answer, checks=CHECKS)


def strict(document: dict[str, Any]) -> dict[str, Any]:
    """Copy the document; forbid undescribed members of answers, except in problems."""
    for shape in document["components"]["schemas"].values():
        if "properties" in shape:
            shape.setdefault("additionalProperties", False)
    return document


def operations(schema: BaseSchema) -> list[Operation]:
    """List all operations but the stream, which does not end."""
    found = [result.ok() for result in schema.get_all_operations() if isinstance(result, Ok)]
    return [one for one in found if one.path.startswith("/v1/") and one.path != ENDLESS]


class Requester:
    """Sends requests, and counts them and their statuses."""

    def __init__(self, url: str, issuer: Issuer) -> None:
        self._url = url
        self._tokens = (issuer.token(VENDOR, vendor=True), issuer.token(PRIMARY))
        self.count = 0
        self.statuses: dict[int, int] = {}
        self.operations: set[str] = set()

    def request_all(self, operation: Operation, ids: Mapping[str, str]) -> None:
        """Request an operation several times."""
        known = {one.name: ids.get(one.name, NOTHING) for one in operation.path_parameters}
        modes = schemathesis.GenerationMode
        self._request_several(NEAR, operation.as_strategy(modes.POSITIVE, path_parameters=known or None))
        if known:
            self._request_several(ODD, operation.as_strategy(modes.POSITIVE))
        if operation.body:
            self._request_several(FAR, operation.as_strategy(modes.NEGATIVE, path_parameters=known or None))
        self.operations.add(operation.label)

    def _request_several(self, count: int, cases: st.SearchStrategy[Any]) -> None:
        @settings(
            max_examples=count,
            derandomize=True,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=cases, token=st.sampled_from(self._tokens))
        def ask(case: Any, token: str) -> None:
            answer = case.call(base_url=self._url, headers={"authorization": f"Bearer {token}"})
            self.count += 1
            self.statuses[answer.status_code] = self.statuses.get(answer.status_code, 0) + 1
            case.validate_response(answer, checks=CHECKS)

        ask()
