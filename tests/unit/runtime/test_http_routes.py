"""The rules of docs/http.md for every route of every service.

They are checked on the built apps without servers.
"""

import importlib
import inspect
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import Request
from pydantic import SecretStr
from starlette.routing import BaseRoute, Route

from services.metering.api.access import KeyRing
from services.metering.store.keys import IngestKey
from shared.events.topics import ServiceName
from shared.runtime.http.fast_routes import DirectRoute
from shared.runtime.http.middleware import ProblemError
from shared.runtime.http.routes import ApiRoute
from shared.runtime.process import health
from shared.runtime.service.definition import Runtime
from tests.support.drivers.processes import COMMAND_KEYS

SERVICES: tuple[ServiceName, ...] = ("allocation", "metering", "alerts", "reporting")
HOST = "units.example"
TABLE = Path(__file__).parents[3] / "docs" / "http.md"
FIELDS = ("x-content-type-options", "referrer-policy", "x-frame-options", "cache-control", "x-correlation-id")
JSON = {"content-type": "application/json"}
_VALUES = {"email": "a@b.example", "name:path": "page.css"}


@dataclass(frozen=True)
class Endpoint:
    """One method of one route, and the client of its service."""

    http: httpx.AsyncClient
    route: Any
    method: str
    path: str

    @property
    def is_page(self) -> bool:
        """Whether the route is a page.

        Pages ignore unknown parameters, and their bodies are forms.
        """
        return not isinstance(self.route, ApiRoute | DirectRoute)

    @property
    def takes_body(self) -> bool:
        return (isinstance(self.route, DirectRoute) and self.method == "POST") or bool(
            getattr(self.route, "body_field", 0)
        )

    @property
    def parameters(self) -> list[str]:
        """The names of its query parameters."""
        if isinstance(self.route, DirectRoute):
            return [one["name"] for one in (self.route.openapi_extra or {}).get("parameters", ())]
        return list(_names(self.route.dependant)) if isinstance(self.route, ApiRoute) else []

    async def send(self, query: str = "", method: str = "", **arguments: Any) -> httpx.Response:
        return await self.http.request(method or self.method, self.path + query, **arguments)

    async def refused(self, status: int, field: str | None = None, query: str = "", **arguments: Any) -> httpx.Response:
        """Send a request that must be refused with this status.

        Where ``field`` is given, it must be among the errors.
        """
        answer = await self.send(query, **arguments)
        assert answer.status_code == status, f"{self.method} {self.path}{query}: {answer.status_code} {answer.text}"
        if field is not None:
            assert field in [one["field"] for one in answer.json()["errors"]], answer.text
        return answer


def _names(dependant: Any) -> Iterator[str]:
    yield from (field.alias for field in dependant.query_params)
    for other in dependant.dependencies:
        yield from _names(other)


def _flat(routes: list[BaseRoute]) -> Iterator[Any]:
    for route in routes:
        inner = getattr(route, "original_router", None)
        yield from _flat(inner.routes) if inner is not None else (route,)


async def built(service: ServiceName, **settings: Any) -> Runtime[Any]:
    """Build a service as it is served, without a database and Kafka."""
    definition = importlib.import_module(f"services.{service}.main").definition()
    given = {"database_url": SecretStr("postgresql://nowhere/x"), "command_keys": SecretStr(COMMAND_KEYS), **settings}
    runtime: Runtime[Any] = Runtime(definition, definition.settings_type(**given))
    if inspect.isawaitable(building := definition.build(runtime)):
        await building

    async def nothing() -> None: ...

    health.add_routes(runtime.api, runtime.health, service=service, version="1", refresh=nothing)
    return runtime


@pytest.fixture
async def endpoints(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[Endpoint]]:
    """Every method of every route.

    Metering accepts every ingest key, so that it checks the body.
    """

    async def admit(_ring: KeyRing, request: Request) -> IngestKey:
        if request.url.path != "/v1/usage":
            raise ProblemError.of("unauthenticated", "No key.")
        return IngestKey("key", "scan", None, None)

    monkeypatch.setattr(KeyRing, "admit", admit)
    found: list[Endpoint] = []
    clients = []
    for service in SERVICES:
        runtime = await built(service, public_url=f"https://{HOST}", http_hosts=HOST, oidc_issuer="http://127.0.0.1:9")
        http = httpx.AsyncClient(transport=httpx.ASGITransport(runtime.app), base_url=f"http://{HOST}")
        clients.append(http)
        for route in _flat(runtime.api.routes):
            assert isinstance(route, Route), route
            path = re.sub(r"\{([^}]+)\}", lambda name: _VALUES.get(name.group(1), "some-id"), route.path)
            found += [Endpoint(http, route, method, path) for method in (route.methods or set()) - {"HEAD"}]
    yield found
    for http in clients:
        await http.aclose()


async def _head(one: Endpoint) -> None:
    if one.method == "GET":
        full, empty = await one.send(), await one.send(method="HEAD")
        assert (empty.status_code, empty.content) == (full.status_code, b""), one.path
        assert full.headers.get("content-type") == empty.headers.get("content-type")


async def _method(one: Endpoint) -> None:
    answer = await one.send(method="TRACE")
    assert answer.status_code == 405, one.path
    allowed = answer.headers["allow"].split(", ")
    assert ("HEAD" in allowed) == ("GET" in allowed)


async def _unknown(one: Endpoint) -> None:
    if one.is_page:
        assert (await one.send("?utm_source=mail")).status_code != 422
    else:
        await one.refused(422, "nonsense", "?nonsense=1")


async def _repeated(one: Endpoint) -> None:
    for name in one.parameters:
        await one.refused(422, name, f"?{name}=1&{name}=1")


async def _empty(one: Endpoint) -> None:
    for name in one.parameters:
        await one.refused(422, name, f"?{name}=")


async def _coding(one: Endpoint) -> None:
    for coding in ("br", "zstd", "deflate", "gzip, gzip", "nonsense"):
        answer = await one.refused(415, headers={"content-encoding": coding, **JSON}, content=b"{}")
        assert answer.headers["accept-encoding"] == "gzip, identity"


def _body_type(one: Endpoint) -> dict[str, str]:
    return {"content-type": "application/cloudevents+json"} if isinstance(one.route, DirectRoute) else JSON


async def _broken(one: Endpoint) -> None:
    if one.takes_body:
        await one.refused(400, headers={"content-encoding": "gzip", **_body_type(one)}, content=b"{}")


async def _media_type(one: Endpoint) -> None:
    if one.takes_body:
        for name in ("text/plain", "application", "application/json, text/json", "application/json; charset=utf-16"):
            await one.refused(415, headers={"content-type": name}, content=b"{}")


async def _malformed(one: Endpoint) -> None:
    if one.takes_body:
        media = _body_type(one)["content-type"]
        for name in (media, media.upper(), f'{media} ; charset="utf-8"'):
            await one.refused(400, headers={"content-type": name}, content=b"{")
    if isinstance(one.route, DirectRoute) and one.method == "POST":
        batch = {"content-type": "application/cloudevents-batch+json"}
        binary = {"ce-specversion": "1.0", "content-type": "application/vnd.acme.usage+json"}
        for headers in (batch, binary):
            await one.refused(400, headers=headers, content=b"{")
        await one.refused(422, headers=batch, content=b"{}")


async def _field(one: Endpoint) -> None:
    for name in ("Authorization", "Content-Type", "Idempotency-Key"):
        await one.refused(400, headers=[(name, "a"), (name, "a")])


async def _precondition(one: Endpoint) -> None:
    if one.method != "GET" and isinstance(one.route, ApiRoute):
        judged = "if_match" in str(inspect.signature(one.route.endpoint)) or "ExpectedVersions" in str(
            one.route.endpoint.__annotations__
        )
        if not judged and not any("if-match" in name for name in _header_names(one.route.dependant)):
            await one.refused(422, "If-Match", headers={"if-match": '"1"', **JSON}, content=b"{}")


def _header_names(dependant: Any) -> Iterator[str]:
    yield from (field.alias.lower() for field in dependant.header_params)
    for other in dependant.dependencies:
        yield from _header_names(other)


async def _slash(one: Endpoint) -> None:
    if not one.path.startswith("/static/") and one.path != "/":
        answer = await one.http.request(one.method, f"{one.path}/")
        assert answer.status_code == 404, one.path


async def _host(one: Endpoint) -> None:
    is_open = one.path in {"/healthz", "/readyz", "/metrics", "/version"}
    for host in ("evil.example", "", f"{HOST}.evil.example", f"evil.example/{HOST}"):
        answer = await one.send(headers={"host": host})
        assert (answer.status_code == 421) != is_open, (one.path, host)
    assert (await one.send(headers={"host": f"{HOST.upper()}:8000"})).status_code != 421


async def _headers(one: Endpoint) -> None:
    for arguments in ({}, {"query": "?nonsense=1"}, {"headers": {"host": "evil.example"}}):
        answer = await one.send(**arguments)
        assert [name for name in FIELDS if name not in answer.headers] == [], one.path
        assert answer.headers["strict-transport-security"].startswith("max-age=31536000")
        if not one.path.startswith("/static/"):
            assert answer.headers["cache-control"] == "no-store", one.path


RULES: dict[str, Callable[[Endpoint], Awaitable[None]]] = {
    "head": _head,
    "method": _method,
    "unknown-parameter": _unknown,
    "repeated-parameter": _repeated,
    "empty-parameter": _empty,
    "coding": _coding,
    "broken-coding": _broken,
    "media-type": _media_type,
    "malformed-body": _malformed,
    "repeated-field": _field,
    "precondition": _precondition,
    "slash": _slash,
    "host": _host,
    "headers": _headers,
}


def test_the_rules_of_this_test_are_those_of_the_page() -> None:
    assert re.findall(r"^\| `([a-z-]+)` \|", TABLE.read_text(), re.MULTILINE) == list(RULES)


async def test_every_route_of_every_service_follows_every_rule(endpoints: list[Endpoint]) -> None:
    broken = []
    for name, rule in RULES.items():
        for one in endpoints:
            try:
                await rule(one)
            except AssertionError as error:
                broken.append(f"{name}: {one.method} {one.path}: {error}")
    assert broken == []


async def test_every_api_route_is_an_api_or_direct_route(endpoints: list[Endpoint]) -> None:
    assert {"/healthz", "/readyz", "/metrics", "/version", "/v1/usage", "/v1/entitlements", "/v1/quarantine", "/"} <= {
        one.path for one in endpoints
    }
    apis = [one.route for one in endpoints if one.path.startswith("/v1/") and one.path != "/v1/openapi.json"]
    assert len(apis) > 60
    assert all(isinstance(route, ApiRoute | DirectRoute) for route in apis)


async def test_metrics_have_the_accepted_format(endpoints: list[Endpoint]) -> None:
    scrape = next(one for one in endpoints if one.path == "/metrics")
    asked = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,*/*;q=0.1"
    for accept in (asked, "application/openmetrics-text"):
        answer = await scrape.send(headers={"accept": accept})
        assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
        assert answer.text.endswith("# EOF\n")
    for accept in ("", "*/*", "text/plain"):
        answer = await scrape.send(headers={"accept": accept})
        assert answer.headers["content-type"].startswith("text/plain")
        assert "# EOF" not in answer.text
