"""The resources that were counted: listed in pages, each a short index scan.

``UNITPOOL_RESOURCES`` (20,000): resources of one subscription in one window; 1,000,000 is the full size.
"""

import json
import os
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from services.metering.api.access import KeyRing
from services.metering.api.resources import resources_router
from services.metering.handlers.apply_usage import UsageApplier
from services.metering.store import resources
from services.metering.store.projection import Projection
from shared.runtime.http.middleware import Middleware
from shared.runtime.http.service_auth import sign_request
from shared.runtime.postgres.pool import Connection
from shared.runtime.signing import parse_keys
from tests.component.metering.test_apply_usage import apply
from tests.support.builders.metering import NOW, START, event, records
from tests.support.drivers.metering_clients import add_key
from tests.support.drivers.processes import COMMAND_KEYS
from tests.support.servers.databases import connect

RESOURCES = int(os.environ.get("UNITPOOL_RESOURCES", "20000"))
KEYS = parse_keys(COMMAND_KEYS)
OTHERS = parse_keys("other:b3RoZXIta2V5LW90aGVyLWtleS1vdGhlci1rZXktb3RoZXIta2V5")
PATH = "/v1/subscriptions/sub-1/resources"
WANTED = {"product": "scan", "meter": "host"}
WINDOW = timedelta(days=15)
_FILL = """
INSERT INTO sighting (subscription, meter, window_start, resource, received_at)
SELECT s.number, m.number, w.start, 'host-' || lpad(n::text, 9, '0'), w.start
FROM subscription s CROSS JOIN generate_series(1, $1) AS n CROSS JOIN meter m, unnest($2::timestamptz[]) AS w (start)
WHERE s.id = 'sub-1' AND m.product = 'scan'
"""


@pytest.fixture
async def client(metering_dsn: str) -> AsyncIterator[httpx.AsyncClient]:
    """Open a client of the route, with an ingest key of scan."""
    await add_key(metering_dsn, "secret", "scan")
    api = FastAPI()
    async with asyncpg.create_pool(metering_dsn, min_size=1, max_size=2) as pool:
        api.include_router(resources_router(KeyRing(pool, lambda: NOW, 0), KEYS, pool, Projection(), lambda: NOW))
        transport = httpx.ASGITransport(Middleware(api, max_body_bytes=1000))
        async with httpx.AsyncClient(transport=transport, base_url="http://metering") as opened:
            opened.headers["authorization"] = "Bearer secret"
            yield opened


async def ask(client: httpx.AsyncClient, **query: Any) -> httpx.Response:
    return await client.get(PATH, params={**WANTED, **query})


async def read_all(client: httpx.AsyncClient, **query: Any) -> list[str]:
    """Read all pages; return the resources."""
    found: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        body = (await ask(client, **query, **cursor)).json()
        found += [item["resource"] for item in body["items"]]
        assert body["counted"] >= len(found)
        if not body["next_cursor"]:
            return found
        cursor = {"cursor": body["next_cursor"]}


async def test_the_resources_of_a_window_are_listed_in_pages(client: httpx.AsyncClient, connection: Connection) -> None:
    names = ["a", "a b", "A", "ü", "u\u0308", "\U0001f600", "x" * 512, "\U0001f600" * 512, "%", "z/?&="]
    this = [event(f"this-{n}", resource=name) for n, name in enumerate([*names, *names[:3]])]
    last = [event("last", resource="before", at=NOW - WINDOW), event("other", subject="sub-2", resource="not mine")]
    await apply(connection, records([*this, *last]))
    assert await read_all(client) == sorted(names)
    assert await read_all(client, limit=1) == sorted(names)
    assert await read_all(client, limit=len(names)) == sorted(names)
    assert await read_all(client, window=(NOW - WINDOW).isoformat()) == ["before"]
    assert await read_all(client, window=(NOW - 2 * WINDOW).isoformat()) == []
    body = (await ask(client)).json()
    start = START + ((NOW - START) // WINDOW) * WINDOW
    assert {name: body[name] for name in ("subscription", "product", "meter", "counted")} == {
        "subscription": "sub-1",
        **WANTED,
        "counted": len(names),
    }
    assert [datetime.fromisoformat(body["window"][name]) for name in ("start", "end")] == [start, start + WINDOW]
    assert datetime.fromisoformat(body["items"][0]["first_received_at"]) == NOW


async def test_a_request_is_refused_when_it_cannot_be_listed(client: httpx.AsyncClient) -> None:
    cases: dict[str, tuple[dict[str, str], int, str]] = {
        "another product's": ({"product": "web", "meter": "app"}, 403, "forbidden"),
        "an unknown meter": ({"meter": "nothing"}, 404, "not_found"),
        "a window long ago": ({"window": (NOW - timedelta(days=80)).isoformat()}, 404, "not_found"),
        "before all time": ({"window": "0001-01-01T00:00:00Z"}, 404, "not_found"),
        "after all time": ({"window": "9999-12-31T23:59:59Z"}, 404, "not_found"),
        "no instant": ({"window": "yesterday"}, 422, "invalid_request"),
        "no cursor of ours": ({"cursor": "?"}, 422, "invalid_request"),
        "a cursor of no text": ({"cursor": "_w=="}, 422, "invalid_request"),
        "a cursor with NUL": ({"cursor": "AAAA"}, 422, "invalid_request"),
        "too many": ({"limit": "1001"}, 422, "invalid_request"),
    }
    for name, (query, status, code) in cases.items():
        answer = await ask(client, **query)
        assert (answer.status_code, answer.json()["code"]) == (status, code), name
    client.headers["authorization"] = "Bearer nobody's"
    assert (await ask(client)).status_code == 401


async def test_a_meter_that_counts_no_resources_is_refused(client: httpx.AsyncClient, metering_dsn: str) -> None:
    await add_key(metering_dsn, "secret of web", "web")
    client.headers["authorization"] = "Bearer secret of web"
    answer = await ask(client, product="web", meter="app")
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "meter")


async def test_another_service_is_admitted_only_when_its_request_is_signed(client: httpx.AsyncClient) -> None:
    del client.headers["authorization"]
    target = f"{PATH}?product=web&meter=app&limit=5"
    headers_by_case: dict[str, dict[str, str]] = {
        "signed": sign_request(target, NOW, KEYS),
        "with another key": sign_request(target, NOW, OTHERS),
        "for something else": sign_request(target.replace("sub-1", "sub-2"), NOW, KEYS),
        "a minute ago": sign_request(target, NOW - timedelta(seconds=61), KEYS),
        "in the future": sign_request(target, NOW + timedelta(seconds=61), KEYS),
        "without a moment": {"unitpool-signature": sign_request(target, NOW, KEYS)["unitpool-signature"]},
        "unsigned": {"unitpool-signature": ""},
    }
    answers = {
        name: (await client.get(target, headers=headers)).status_code for name, headers in headers_by_case.items()
    }
    assert answers == dict.fromkeys(headers_by_case, 401) | {"signed": 422}, (
        "web's meter counts none, but it was admitted"
    )


async def test_a_page_is_read_by_index_when_there_are_many_resources(
    client: httpx.AsyncClient, connection: Connection, metering_dsn: str
) -> None:
    await apply(connection, records([event("first", resource="aaa"), event("old", resource="aaa", at=NOW - WINDOW)]))
    windows = [row["window_start"] for row in await connection.fetch("SELECT DISTINCT window_start FROM sighting")]
    await connection.execute(_FILL, RESOURCES, windows)
    async with connect(metering_dsn) as owner:
        await owner.execute("ANALYZE")
    ((subscription, meter),) = await connection.fetch(
        "SELECT s.number, m.number FROM subscription s, meter m WHERE s.id = 'sub-1' AND m.product = 'scan'"
    )
    for after in ("", f"host-{RESOURCES // 2:09}", f"host-{RESOURCES:09}"):
        plan = json.loads(
            await connection.fetchval(
                f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {resources._PAGE}",
                *(subscription, meter, max(windows), after, 101),
            )
        )[0]["Plan"]
        kinds = {node["Node Type"] for node in _nodes(plan)}
        assert kinds <= {"Limit", "Index Scan", "Index Only Scan", "Append"}, kinds
        assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 60
    middle = (await ask(client, limit=1000)).json()
    assert [item["resource"] for item in middle["items"][:2]] == ["aaa", "host-000000001"]
    rest = (await ask(client, limit=1000, cursor=middle["next_cursor"])).json()
    assert rest["items"][0]["resource"] == "host-000001000"


async def test_many_resources_in_one_subscription_are_each_counted_once(connection: Connection) -> None:
    """Every resource arrives twice, the second time in another batch."""
    applier, count, at_once = UsageApplier(), RESOURCES // 2, 5_000
    for again in range(2):
        for first in range(0, count, at_once):
            numbers = range(first, min(first + at_once, count))
            items = [event(f"{again}-{n}", resource=f"host-{n}", at=NOW - timedelta(minutes=n % 600)) for n in numbers]
            await apply(connection, records(items, first=again * count + first), applier)
    assert await connection.fetchval("SELECT aggregate FROM meter_window") == count
    assert await connection.fetchval("SELECT count(*) FROM sighting") == count


def _nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(node for child in plan.get("Plans", ()) for node in _nodes(child))]
