"""The parts of the middleware.

They are codings, media types, client addresses, parameters, times and limits.
"""

import gzip
import zlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from ipaddress import ip_network
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request
from pydantic import TypeAdapter, ValidationError

from services.reporting.api.fields import At
from shared import media_types
from shared.events.envelope import Day, Instant
from shared.runtime.http import query_parameters
from shared.runtime.http.caller_limits import RateLimit, Shares
from shared.runtime.http.client_address import MAX_HOPS, client_address
from shared.runtime.http.middleware import Middleware, MiddlewareOptions, ProblemError
from shared.runtime.process.addresses import parse_networks

LIMIT = 10_000


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("application/json", "application/json"),
        (' Application/Vnd.Acme.Usage+JSON ;\tv=1; q="a;\\"b" ', "application/vnd.acme.usage+json"),
        ("text/json;", "text/json"),
        ("application/json;charset=UTF-8", "application/json"),
    ],
)
def test_a_media_type_of_json_is_recognised_in_every_spelling(text: str, name: str) -> None:
    found = media_types.parse(text)
    assert found is not None
    assert (found.name, found.is_json) == (name, True)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "json",
        "application/",
        "/json",
        "application / json",
        "application/json, text/json",
        "application/json; charset",
        "application/json; charset = utf-8",
        'application/json; a="b',
        "application/json; a=1; A=2",
        "application/json\r\nx: y",
        "applicätion/json",
        "application/json;" + "a" * 2000,
    ],
)
def test_parsing_returns_none_when_the_text_is_no_media_type(text: str) -> None:
    assert media_types.parse(text) is None


@pytest.mark.parametrize(
    "text", ["application/xml", "application/+json", "application/json; charset=latin-1", "a/jsonx"]
)
def test_another_media_type_is_not_json(text: str) -> None:
    assert media_types.parse(text) is not None
    assert not media_types.is_json(text)


PROXIES = parse_networks("10.0.0.0/8, 2001:db8::/32")


@pytest.mark.parametrize(
    ("peer", "said", "is_asked_by"),
    [
        ("203.0.113.5", ["198.51.100.1"], "203.0.113.5"),
        ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["203.0.113.9, 198.51.100.1, 10.9.9.9"], "198.51.100.1"),
        ("10.0.0.1", ["203.0.113.9", "198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["198.51.100.1:4711"], "198.51.100.1"),
        ("2001:db8::1", ["[2001:470::7]:443"], "2001:470::7"),
        ("::ffff:10.0.0.1", ["::ffff:198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", ["not-an-address, 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", ["198.51.100.1, <script>"], "10.0.0.1"),
        ("10.0.0.1", ["fe80::1%eth0"], "10.0.0.1"),
        ("10.0.0.1", ["x" * 60_000], "10.0.0.1"),
        ("10.0.0.1", [""], "10.0.0.1"),
        ("10.0.0.1", [",".join(["198.51.100.1"] + ["10.0.0.2"] * MAX_HOPS)], "10.0.0.2"),
        (None, ["198.51.100.1"], None),
    ],
)
def test_only_trusted_proxies_name_the_client(peer: str | None, said: list[str], is_asked_by: str | None) -> None:
    assert client_address(peer, [one.encode() for one in said], PROXIES) == is_asked_by


def test_no_forwarded_address_is_trusted_without_proxies_and_an_invalid_network_is_refused() -> None:
    assert client_address("10.0.0.1", [b"198.51.100.1"], ()) == "10.0.0.1"
    assert parse_networks("") == ()
    assert parse_networks("10.0.0.1") == (ip_network("10.0.0.1/32"),)
    with pytest.raises(ValueError, match="proxy"):
        parse_networks("proxy.internal")


def test_a_query_is_refused_when_a_parameter_is_unknown_repeated_or_empty() -> None:
    assert query_parameters.read(b"", ()) == {}
    assert query_parameters.read(b"a=1&b=%2B", {"a", "b"}) == {"a": "1", "b": "+"}
    for query in (b"c=1", b"a=1&a=2", b"a=", b"a", b"a=1&A=1", b"&a=1&=2"):
        with pytest.raises(ProblemError) as refused:
            query_parameters.read(query, {"a", "b"})
        assert refused.value.refusal.code == "invalid_request"


@pytest.mark.parametrize("kind", [Instant, At])
def test_a_time_is_refused_when_it_is_a_number(kind: Any) -> None:
    read = TypeAdapter[datetime](kind)
    assert read.validate_python("2026-11-24T12:15:00+02:00") == datetime(2026, 11, 24, 10, 15, tzinfo=UTC)
    assert read.validate_json('"2026-11-24 10:15:00Z"') == datetime(2026, 11, 24, 10, 15, tzinfo=UTC)
    texts = ("1764000000", "1764000000000", "1.7e9", "-1", "2026", "")
    numbers: tuple[object, ...] = (1764000000000, 1764000000, 1.5, True, None, [], *texts)
    for number in numbers:
        with pytest.raises(ValidationError):
            read.validate_python(number)
    with pytest.raises(ValidationError, match="%2B"):
        read.validate_python("2026-11-24T10:15:00 02:00")


def test_a_day_is_refused_when_it_is_a_number() -> None:
    read = TypeAdapter(Day)
    assert read.validate_python("2026-11-24").isoformat() == "2026-11-24"
    for number in (20000, "20000", 1764000000000, "1764000000"):
        with pytest.raises(ValidationError):
            read.validate_python(number)


def test_slots_are_limited_per_key_and_released_once() -> None:
    shares = Shares(3, 2)
    first, second = shares.take("a", "no"), shares.take("a", "no")
    with pytest.raises(ProblemError) as refused:
        shares.take("a", "no")
    assert (refused.value.status, refused.value.headers["Retry-After"]) == (429, "10")
    third = shares.take("b", "no")
    with pytest.raises(ProblemError):
        shares.take("c", "no")
    first(), first()
    again = shares.take("c", "no")
    with pytest.raises(ProblemError):
        shares.take("d", "no")
    for give_back in (second, third, again):
        give_back()
    assert len([shares.take(key, "no") for key in "abc"]) == 3


def test_each_key_has_its_own_bucket_which_refills() -> None:
    now = 0.0
    limit = RateLimit(60, lambda: now)
    for _ in range(60):
        limit.check("a", "no")
        limit.spend("a")
    with pytest.raises(ProblemError) as refused:
        limit.check("a", "no")
    assert refused.value.headers["Retry-After"] == "1"
    limit.check("b", "no")
    now = 1.0
    limit.check("a", "no")
    for _ in range(1000):
        RateLimit(0).spend("a")
    RateLimit(0).check("a", "no")


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    api = FastAPI(openapi_url=None)

    @api.post("/echo")
    async def echo(request: Request) -> dict[str, Any]:
        return {"size": len(await request.body()), "client": request.client.host if request.client else None}

    options = MiddlewareOptions(proxies=parse_networks("127.0.0.0/8"))
    transport = httpx.ASGITransport(Middleware(api, max_body_bytes=LIMIT, options=options))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


async def test_gzip_is_unpacked_up_to_the_limit(client: httpx.AsyncClient) -> None:
    async def packed(body: bytes, coding: str = "gzip") -> httpx.Response:
        return await client.post("/echo", content=body, headers={"content-encoding": coding})

    async def in_pieces(body: bytes) -> AsyncIterator[bytes]:
        for n in range(len(body)):
            yield body[n : n + 1]

    assert (await packed(gzip.compress(b"x" * LIMIT))).json()["size"] == LIMIT
    assert (await packed(gzip.compress(b"x" * 10) + gzip.compress(b"y" * 5), "X-GZip")).json()["size"] == 15
    assert (await packed(b"x" * 7, "identity")).json()["size"] == 7
    assert (await packed(b"")).json()["size"] == 0
    sent = client.build_request(
        "POST", "/echo", content=in_pieces(gzip.compress(b"abc")), headers={"content-encoding": "gzip"}
    )
    assert (await client.send(sent)).json()["size"] == 3
    for bomb in (gzip.compress(b"x" * (LIMIT + 1)), gzip.compress(b"x" * 5_000_000), gzip.compress(b"x" * 6000) * 2):
        assert (await packed(bomb)).status_code == 413
    whole = gzip.compress(b"abc")
    for broken in (b"{}", whole[:-1], whole[:-4] + b"\0\0\0\0", whole + b"x", zlib.compress(b"abc")):
        answer = await packed(broken)
        assert (answer.status_code, answer.json()["code"]) == (400, "malformed"), broken


async def test_the_middleware_trusts_proxies_only(client: httpx.AsyncClient) -> None:
    answer = await client.post("/echo", headers={"x-forwarded-for": "203.0.113.9, 198.51.100.7"})
    assert answer.json()["client"] == "198.51.100.7"
    api = FastAPI(openapi_url=None)

    @api.get("/who")
    async def who(request: Request) -> str | None:
        return request.client.host if request.client else None

    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(Middleware(api, max_body_bytes=1)), base_url="http://test"
    ) as plain:
        assert (await plain.get("/who", headers={"x-forwarded-for": "203.0.113.9"})).json() == "127.0.0.1"
