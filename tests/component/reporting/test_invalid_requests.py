"""Invalid requests: the answer names what is wrong, and is never a 500."""

import asyncio
import json
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import MakeDatabase
from tests.support.builders.published import PRIMARY, VENDOR
from tests.support.drivers.reporting import ReportingDriver, reporting
from tests.support.servers.token_issuer import Issuer

PLANS = "/v1/subscriptions/sub-1/rebalances"
PURCHASES = "/v1/subscriptions/sub-1/purchases"
ODD_IDS = ["%00", "a%00b", "..", "A", "%F0%9F%92%A3", "%FF", "a" * 300, "sub-1;drop", "%2e%2e%2fetc", "sub-1%0a", " "]


PEOPLE = "/v1/accounts/acme/people"
CONTRACT = {
    "account": "acme",
    "name": "x",
    "model": "flex",
    "start": "2026-01-01T00:00:00Z",
    "end": "2027-01-01T00:00:00Z",
}
LOOK_ALIKES = ["\u212aim@acme.example", "\ufeffkim@acme.example", "\u202emik@acme.example", "ki\u200bm@acme.example"]

BODIES: list[tuple[str, Any, str]] = [
    *((PEOPLE, {"email": address, "name": "Kim"}, "email") for address in LOOK_ALIKES),
    *(
        ("/v1/subscriptions", {**CONTRACT, "primary_contact": {"email": one, "name": "Kim"}}, "primary_contact.email")
        for one in LOOK_ALIKES
    ),
    (PURCHASES, {"units": -1, "order_reference": "x"}, "units"),
    (PURCHASES, {"units": 0, "order_reference": "x"}, "units"),
    (PURCHASES, {"units": 1.5, "order_reference": "x"}, "units"),
    (PURCHASES, {"units": 5.0, "order_reference": "x"}, "units"),
    (PURCHASES, {"units": "5", "order_reference": "x"}, "units"),
    (PURCHASES, {"units": True, "order_reference": "x"}, "units"),
    (PURCHASES, {"units": 2**53, "order_reference": "x"}, "units"),
    (PURCHASES, {"units": 10**30, "order_reference": "x"}, "units"),
    (PURCHASES, {"units": None, "order_reference": "x"}, "units"),
    (PURCHASES, {"units": 1}, "order_reference"),
    (PURCHASES, {"units": 1, "order_reference": "a\0b"}, "order_reference"),
    (PURCHASES, {"units": 1, "order_reference": " "}, "order_reference"),
    (PURCHASES, {"units": 1, "order_reference": "x" * 201}, "order_reference"),
    (PURCHASES, {"units": 1, "order_reference": "x", "more": 1}, "more"),
    (PURCHASES, {"units": 1, "order_reference": "x", "start": "2026-01-01T00:00:00"}, "start"),
    (PURCHASES, {"units": 1, "order_reference": "x", "start": "9999-12-31T23:59:59-14:00"}, "start"),
    (PURCHASES, {"units": 1, "order_reference": "x", "start": "0001-01-01T00:00:00+14:00"}, "start"),
    (PURCHASES, {"units": 1, "order_reference": "x", "end": 1e300}, "end"),
    (PURCHASES, [], ""),
    (PLANS, {"changes": []}, "changes"),
    (PLANS, {"changes": [{"product": "scan", "units": -5}]}, "changes.0.units"),
    (PLANS, {"changes": [{"product": "a\0", "units": 5}]}, "changes.0.product"),
    (PLANS, {"changes": [{"product": "scan", "units": 5, "x": 1}]}, "changes.0.x"),
    (PLANS, {"changes": [{"product": "scan", "units": 5}], "preview": "yes"}, "preview"),
    (PLANS, {"changes": [{"product": "scan", "units": n} for n in (1, 2)]}, "changes"),
    (PLANS, {"changes": [{"product": f"p{n}", "units": n} for n in range(10_000)]}, "changes"),
    (PLANS, {"changes": [{"product": "scan", "units": 2**63}]}, "changes.0.units"),
    (PLANS, {"changes": [{"product": "scan", "units": "5"}]}, "changes.0.units"),
    (PLANS, {"changes": [{"product": "scan", "units": 1.5}]}, "changes.0.units"),
    ("/v1/accounts", {"name": "x", "id": "Not A Slug"}, "id"),
    ("/v1/catalogue/products", {"id": "x", "name": "X", "sources": ["/a\0"]}, "sources.0"),
    ("/v1/subscriptions/sub-1/alert-channels", {"url": "ftp://x"}, "url"),
    ("/v1/subscriptions/sub-1/alert-channels", {"url": "nonsense"}, "url"),
]
UNREADABLE: list[tuple[bytes, str, int, str]] = [
    (b"{", "application/json", 400, "malformed"),
    (b"", "application/json", 422, "invalid_request"),
    (b"\xff\xfe", "application/json", 400, "malformed"),
    (b'{"units": 1e400, "order_reference": "x"}', "application/json", 422, "invalid_request"),
    (b'{"units": NaN, "order_reference": "x"}', "application/json", 422, "invalid_request"),
    (b'{"units": ' + b"9" * 5000 + b', "order_reference": "x"}', "application/json", 400, "malformed"),
    (b"[" * 100_000, "application/json", 400, "malformed"),
    (b'{"units": 1, "order_reference": "\\ud800"}', "application/json", 422, "invalid_request"),
    (b'{"\\ud800": 1, "units": 1, "order_reference": "x"}', "application/json", 422, "invalid_request"),
    (b'{"units": 1, "order_reference": "x"}', "text/plain", 415, "unsupported_media_type"),
    (b"units=1", "application/x-www-form-urlencoded", 415, "unsupported_media_type"),
    (b"x", "", 415, "unsupported_media_type"),
    (b" " * 2_000_000, "application/json", 413, "too_large"),
]


async def test_body_is_refused_with_its_field_when_a_value_is_invalid(driver: ReportingDriver) -> None:
    for path, body, field in BODIES:
        answer = await driver.ask("POST", path, json=body)
        assert answer.status_code == 422, (body, answer.text)
        problem = answer.json()
        assert problem["code"] == "invalid_request"
        assert field in [error["field"] for error in problem["errors"]], body


async def test_body_is_refused_when_it_cannot_be_decoded(driver: ReportingDriver) -> None:
    for content, content_type, status, code in UNREADABLE:
        answer = await driver.ask("POST", PURCHASES, content=content, headers={"content-type": content_type})
        assert (answer.status_code, answer.json()["code"]) == (status, code), content[:100]
        assert answer.headers["content-type"] == "application/problem+json"


async def test_path_is_not_found_when_its_id_is_invalid(driver: ReportingDriver) -> None:
    for odd in ODD_IDS:
        for path in (
            f"/v1/subscriptions/{odd}",
            f"/v1/subscriptions/{odd}/usage",
            f"/v1/subscriptions/{odd}/stream",
            f"/v1/accounts/{odd}",
            f"/v1/catalogue/products/{odd}",
            f"/v1/ingest-keys/{odd}",
            f"/v1/commands/{odd}",
        ):
            answer = await driver.ask("GET", path)
            assert answer.status_code in {200, 307, 404}, (path, answer.text)
        for path in (f"/v1/subscriptions/{odd}/purchases", f"/v1/subscriptions/sub-1/alerts/{odd}/acknowledge"):
            answer = await driver.ask("POST", path, json={"units": 1, "order_reference": "x"})
            assert answer.status_code in {404, 405}, (path, answer.text)


CURSORS = ["%00", "abc", "W10", "a" * 2000, "WyJcdTAwMDAiLCJhIiwiYiJd", "WyIyMDI2IiwiYSIsImIiXQ"]
ALLOCATION_QUERIES = ["limit=0", "limit=1000", "limit=x", *(f"cursor={cursor}" for cursor in CURSORS)]
USAGE_QUERIES = [
    *("from=x", "from=2026-01-01", "to=9999-12-31T23:59:59-14:00"),
    *("interval=year", "product=%00", "to=1900-01-01T00:00:00Z"),
]


async def test_query_is_refused_with_its_name_when_it_is_invalid(driver: ReportingDriver) -> None:
    for resource, queries in (("allocations", ALLOCATION_QUERIES), ("usage", USAGE_QUERIES)):
        for query in queries:
            answer = await driver.ask("GET", f"/v1/subscriptions/sub-1/{resource}?{query}")
            assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request"), query
            assert answer.json()["errors"][0]["field"] == query.split("=")[0]


async def test_header_is_refused_with_its_name_when_it_is_invalid(driver: ReportingDriver) -> None:
    body = {"product": "scan", "units": 1}
    for name, value in (("Idempotency-Key", "x"), ("If-Match", "x"), ("If-Match", '"' + "9" * 50 + '"')):
        answer = await driver.ask(
            "POST", "/v1/subscriptions/sub-1/allocations", PRIMARY, json=body, headers={name: value}
        )
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["field"].lower() == name.lower()


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(st.characters(exclude_categories=[]), max_size=10)
    | st.sampled_from(["scan", "acme", "2026-01-01T00:00:00Z", "https://x.example/", "flex", PRIMARY]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.timeout(300)
async def test_no_request_is_answered_500_when_bodies_are_near_to_the_description(
    database: MakeDatabase, shared_issuer: Issuer
) -> None:
    """Every operation of the OpenAPI document is requested."""
    async with reporting(await database("reporting"), shared_issuer, command_wait_seconds=0) as driver:
        document = (await driver.http.get("/v1/openapi.json")).json()
        token = shared_issuer.token(VENDOR, vendor=True)
        operations = [
            (method.upper(), path, operation)
            for path, methods in document["paths"].items()
            for method, operation in methods.items()
            if path.startswith("/v1/")
        ]
        assert len(operations) > 25
        loop = asyncio.get_running_loop()

        @settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
        @given(st.data())
        def fuzz(data: st.DataObject) -> None:
            method, path, operation = data.draw(st.sampled_from(operations))
            for one in operation.get("parameters", ()):
                if one["in"] == "path":
                    drawn = data.draw(st.sampled_from(["acme", "scan", "sub-1", str(uuid4()), *ODD_IDS[:5]]))
                    path = path.replace("{" + one["name"] + "}", drawn)
            queries = [one["name"] for one in operation.get("parameters", ()) if one["in"] == "query"]
            texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
            params = data.draw(st.dictionaries(st.sampled_from(queries), texts)) if queries else {}
            body = data.draw(near(document, operation) | JSON)
            request = driver.http.request(
                method,
                path,
                params=params,
                headers={"authorization": f"Bearer {token}", "content-type": "application/json"},
                content=json.dumps(body).encode() if method != "GET" else None,
            )
            answer = asyncio.run_coroutine_threadsafe(request, loop).result()
            assert answer.status_code < 500, (method, path, params, body, answer.text)

        await asyncio.to_thread(fuzz)


def near(document: dict[str, Any], operation: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Generate the body's example with one member replaced, added or removed."""
    content = operation.get("requestBody", {}).get("content", {})
    reference = content.get("application/json", {}).get("schema", {}).get("$ref", "")
    schema = document["components"]["schemas"].get(reference.rpartition("/")[2], {})
    example: dict[str, Any] = (schema.get("examples") or [{}])[0]
    names = st.sampled_from([*schema.get("properties", {"x": 0}), "other"])
    return st.builds(lambda name, value: {**example, name: value}, names, JSON) | st.just(example)
