"""The middleware: every error is a problem document.

None contains internal details.
"""

from collections.abc import AsyncIterator
from typing import Annotated

import httpx
import pytest
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import PlainTextResponse, StreamingResponse
from prometheus_client import REGISTRY
from pydantic import BaseModel, ConfigDict, Field
from structlog.testing import capture_logs

from shared.events.ids import PlainName
from shared.events.refusals import Refusal
from shared.runtime.http.fast_routes import DirectRoute, include
from shared.runtime.http.middleware import ALWAYS_OPEN, Middleware, ProblemError


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid")

    units: Annotated[int, Field(strict=True, ge=1)]
    name: PlainName = "plain"


def direct() -> APIRouter:
    router = APIRouter(route_class=DirectRoute)

    @router.post("/direct", openapi_extra={"parameters": [{"name": "why", "in": "query"}]})
    async def answer(request: Request) -> Response:
        match request.query_params.get("why"):
            case "refused":
                raise ProblemError.of("forbidden", "Not you.")
            case "away":
                raise ConnectionRefusedError("secret host")
            case "bug":
                raise ZeroDivisionError("secret detail")
        assert "fastapi_middleware_astack" not in request.scope, "it passed the layers of the app"
        return PlainTextResponse(f"{request.state.correlation_id} {len(await request.body())}")

    return router


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    api = FastAPI(openapi_url=None)

    @api.post("/things/{thing}")
    async def post_thing(thing: str, body: Body, request: Request) -> dict[str, object]:
        return {"thing": thing, "units": body.units, "correlation": request.state.correlation_id}

    @api.post("/raw")
    async def raw(request: Request) -> int:
        return len(await request.body())

    @api.get("/refused")
    async def refused() -> None:
        raise ProblemError.of("insufficient_units", "Not enough units.", purchased=100, requested=120)

    @api.get("/busy")
    async def busy() -> None:
        raise ProblemError(Refusal(code="too_many_requests", message="Slow down."), headers={"Retry-After": "2"})

    @api.get("/stream")
    async def stream() -> StreamingResponse:
        return StreamingResponse(iter(["data: 1"]), media_type="text/event-stream")

    @api.get("/away")
    async def away() -> None:
        raise ConnectionRefusedError("secret host")

    @api.get("/bug")
    async def bug() -> None:
        raise ZeroDivisionError("secret detail")

    include(api, direct())
    transport = httpx.ASGITransport(Middleware(api, max_body_bytes=1000), raise_app_exceptions=True)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


async def test_a_refusal_has_status_code_sentence_and_details(client: httpx.AsyncClient) -> None:
    answer = await client.get("/refused")
    assert (answer.status_code, answer.headers["content-type"]) == (409, "application/problem+json")
    assert answer.json() == {
        "type": "urn:unitpool:problem:insufficient_units",
        "title": "Refused",
        "status": 409,
        "detail": "Not enough units.",
        "code": "insufficient_units",
        "purchased": 100,
        "requested": 120,
    }


async def test_a_refusal_may_set_headers(client: httpx.AsyncClient) -> None:
    answer = await client.get("/busy")
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "2")


@pytest.mark.parametrize(
    ("body", "field"),
    [('{"units": 0}', "units"), ('{"units": 1.5}', "units"), ('{"units": 1, "x": 1}', "x"), ("{}", "units")],
)
async def test_an_invalid_body_names_each_field(client: httpx.AsyncClient, body: str, field: str) -> None:
    answer = await client.post("/things/a", content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert [one["field"] for one in answer.json()["errors"]] == [field]


async def test_the_message_of_our_own_validator_has_no_prefix_of_pydantic(client: httpx.AsyncClient) -> None:
    answer = await client.post("/things/a", json={"units": 1, "name": "<b>"})
    assert answer.json()["errors"] == [{"field": "name", "message": "must not contain <, > or &"}]


@pytest.mark.parametrize("body", ["{", '{"units": 1e400}', "\x00", '"\\ud800"', "[[[[[", "nul"])
async def test_a_body_is_refused_when_it_is_no_valid_json(client: httpx.AsyncClient, body: str) -> None:
    answer = await client.post("/things/a", content=body.encode(), headers={"content-type": "application/json"})
    assert answer.status_code in {400, 422}
    assert answer.headers["content-type"] == "application/problem+json"


async def test_an_unexpected_error_is_a_500_without_its_detail(client: httpx.AsyncClient) -> None:
    answer = await client.get("/bug", headers={"X-Correlation-Id": "c-7"})
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert "secret detail" not in answer.text
    assert answer.headers["x-correlation-id"] == "c-7"


@pytest.mark.parametrize(("method", "path"), [("GET", "/away"), ("POST", "/direct?why=away")])
async def test_a_transient_error_is_a_503_with_retry_after(client: httpx.AsyncClient, method: str, path: str) -> None:
    answer = await client.request(method, path)
    assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (503, "unavailable", "2")
    assert "secret host" not in answer.text
    assert answer.headers["x-frame-options"] == "DENY"


async def test_unknown_routes_and_methods_are_problems(client: httpx.AsyncClient) -> None:
    assert (await client.get("/nothing")).json()["code"] == "not_found"
    assert (await client.get("/raw")).json()["code"] == "method_not_allowed"


async def test_a_body_is_refused_when_it_is_too_large_with_or_without_its_length(client: httpx.AsyncClient) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(30):
            yield b"x" * 100

    for path in ("/raw", "/things/a"):
        declared = await client.post(path, content=b"x" * 1001)
        streamed = await client.post(path, content=chunks(), headers={"content-type": "application/json"})
        assert (declared.status_code, declared.json()["code"]) == (413, "too_large")
        assert (streamed.status_code, streamed.json()["code"]) == (413, "too_large")
    assert (await client.post("/raw", content=b"x" * 1000)).json() == 1000


async def test_the_correlation_id_is_the_requests_or_a_new_one_when_it_is_invalid(client: httpx.AsyncClient) -> None:
    sent = await client.post("/things/a", json={"units": 1}, headers={"X-Correlation-Id": "c-1"})
    assert sent.json()["correlation"] == sent.headers["x-correlation-id"] == "c-1"
    for bad in ("x" * 200, "a\tb", ""):
        made = await client.post("/things/a", json={"units": 1}, headers={"X-Correlation-Id": bad})
        assert len(made.headers["x-correlation-id"]) == 36


async def test_answers_carry_security_headers(client: httpx.AsyncClient) -> None:
    answer = await client.get("/nothing")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"


async def test_requests_are_counted_by_route_and_never_by_path(client: httpx.AsyncClient) -> None:
    def counted(name: str, **labels: str) -> float:
        return REGISTRY.get_sample_value(name, labels) or 0

    requests, seconds = "unitpool_http_requests_total", "unitpool_http_request_seconds_count"
    before = counted(requests, route="/things/{thing}", status="200")
    unmatched = counted(requests, route="unmatched", status="404")
    streamed = counted(seconds, route="/stream")
    await client.post("/things/some-customer", json={"units": 1})
    await client.get("/some-customer/secret")
    assert (await client.get("/stream")).text == "data: 1"
    assert counted(requests, route="/things/{thing}", status="200") == before + 1
    assert counted(requests, route="unmatched", status="404") == unmatched + 1
    assert counted(seconds, route="/stream") == streamed
    assert counted(requests, route="/things/some-customer", status="200") == 0


async def test_the_middleware_handles_a_direct_route_like_any_other(client: httpx.AsyncClient) -> None:
    answer = await client.post("/direct", content=b"abc", headers={"X-Correlation-Id": "c-1"})
    assert (answer.status_code, answer.text, answer.headers["x-correlation-id"]) == (200, "c-1 3", "c-1")
    assert answer.headers["x-frame-options"] == "DENY"
    refused = await client.post("/direct?why=refused")
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    bug = await client.post("/direct?why=bug")
    assert (bug.status_code, "secret detail" in bug.text) == (500, False)

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(30):
            yield b"x" * 100

    for content in (b"x" * 1001, chunks()):
        assert (await client.post("/direct", content=content)).json()["code"] == "too_large"
    assert (await client.get("/direct")).json()["code"] == "method_not_allowed"
    counted = REGISTRY.get_sample_value("unitpool_http_requests_total", {"route": "/direct", "status": "403"})
    assert counted == 1


def test_a_direct_route_is_in_the_openapi_document() -> None:
    api = FastAPI()
    include(api, direct())
    (operation,) = api.openapi()["paths"]["/direct"].values()
    assert operation["parameters"] == [{"name": "why", "in": "query"}]


async def test_the_status_is_499_when_the_client_has_disconnected() -> None:
    api = FastAPI()
    include(api, direct())

    async def gone() -> dict[str, str]:
        return {"type": "http.disconnect"}

    async def unwritten(_message: object) -> None:
        raise AssertionError("an answer was sent to a disconnected client")

    scope = {"type": "http", "method": "POST", "path": "/direct", "headers": [], "query_string": b""}
    await Middleware(api, max_body_bytes=1000)(scope, gone, unwritten)
    assert REGISTRY.get_sample_value("unitpool_http_requests_total", {"route": "/direct", "status": "499"}) == 1


async def log_lines(client: httpx.AsyncClient, method: str, path: str, **headers: str) -> list[dict[str, object]]:
    """The log lines of one request."""
    with capture_logs() as lines:
        await client.request(method, path, headers=headers, json={"units": 1})
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines if "route" in line]


async def test_a_request_is_logged_once_when_it_writes_or_has_an_id(client: httpx.AsyncClient) -> None:
    line = {"event": "request", "method": "POST", "route": "/things/{thing}", "status": 200, "log_level": "info"}
    assert await log_lines(client, "POST", "/things/a") == [line]
    assert await log_lines(client, "GET", "/refused") == []
    followed = {"X-Correlation-Id": "mine"}
    assert await log_lines(client, "GET", "/refused", **followed) == [
        {**line, "method": "GET", "route": "/refused", "status": 409}
    ]
    assert await log_lines(client, "GET", "/refused", **{"X-Correlation-Id": "x" * 101}) == [], "it is no id"


async def test_hot_routes_and_probes_are_not_logged_without_an_id(client: httpx.AsyncClient) -> None:
    assert await log_lines(client, "POST", "/direct") == []
    (line,) = await log_lines(client, "POST", "/direct", **{"X-Correlation-Id": "mine"})
    assert (line["route"], line["status"]) == ("/direct", 200)
    for path in ALWAYS_OPEN:
        assert await log_lines(client, "GET", path, **{"X-Correlation-Id": "mine"}) == []
