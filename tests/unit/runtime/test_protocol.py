"""The HTTP connection.

Requests that are too long, too slow or malformed are refused.
"""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from unittest.mock import ANY

import pytest
import uvicorn
from fastapi import FastAPI, Request

from shared.runtime.http import connection_limits
from shared.runtime.http.connection_limits import MAX_FIELDS, MAX_HEAD_BYTES, MAX_TARGET_BYTES, BoundedProtocol
from shared.runtime.http.middleware import SECURITY_HEADERS, Middleware

GET = b"GET /thing HTTP/1.1\r\nhost: x\r\n"
POST = b"POST /thing HTTP/1.1\r\nhost: x\r\n"
PIECE = 16 * 1024


class Server(uvicorn.Server):
    """A server that does not handle the signals of the test run."""

    def install_signal_handlers(self) -> None: ...


@pytest.fixture
async def port() -> AsyncIterator[int]:
    api = FastAPI(openapi_url=None)

    @api.get("/thing")
    async def thing() -> str:
        return "thing"

    @api.post("/thing")
    async def take(request: Request) -> int:
        return len(await request.body())

    @api.post("/slow")
    async def slow(request: Request) -> int:
        await asyncio.sleep(0.3)
        return len(await request.body())

    async with serving(api) as found:
        yield found


@asynccontextmanager
async def serving(api: FastAPI) -> AsyncIterator[int]:
    """The port of a running server."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    app = Middleware(api, max_body_bytes=10_000_000)
    server = Server(uvicorn.Config(app, http=BoundedProtocol, ws="none", lifespan="off", log_config=None))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:  # noqa: ASYNC110  # uvicorn reports it in no other way
        await asyncio.sleep(0.01)
    yield listener.getsockname()[1]
    server.should_exit = server.force_exit = True
    await serving


class Client:
    """A client that sends bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()

    async def answer(self) -> tuple[int, Any]:
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        return int(head.split()[1]), json.loads(await self.reader.readexactly(length))

    async def refused(self) -> tuple[int, str]:
        """Read an answer after which the connection is closed; its status and code."""
        status, body = await self.answer()
        assert await self.reader.read() == b""
        return status, body["code"]


@pytest.fixture
async def client(port: int) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    yield Client(reader, writer)
    writer.close()


async def test_requests_on_one_connection_are_answered_when_they_arrive_byte_by_byte(client: Client) -> None:
    await client.send(GET + b"\r\n" + POST + b"content-length: 3\r\n\r\nabc\r\n" + GET + b"\r\n")
    assert [await client.answer() for _ in range(3)] == [(200, "thing"), (200, 3), (200, "thing")]
    for byte in GET + b"x-long: " + b"y" * 200 + b"\r\n\r\n":
        await client.send(bytes([byte]))
    assert await client.answer() == (200, "thing")


async def test_a_body_may_be_larger_than_the_limit_of_the_head(client: Client) -> None:
    size = 3 * MAX_HEAD_BYTES
    await client.send(POST + b"content-length: %d\r\n\r\n" % size, b"x" * size)
    assert await client.answer() == (200, size)
    chunk = b"%x\r\n%s\r\n" % (size, b"x" * size)
    await client.send(POST + b"transfer-encoding: chunked\r\n\r\n", chunk, chunk, b"0\r\n\r\n")
    assert await client.answer() == (200, 2 * size)


async def test_the_status_is_414_when_the_target_is_too_long(client: Client) -> None:
    await client.send(b"GET /" + b"a" * MAX_TARGET_BYTES + b" HTTP/1.1\r\n\r\n")
    assert await client.refused() == (414, "too_large")


async def test_the_status_is_414_when_the_target_has_no_end(client: Client) -> None:
    await client.send(b"GET /", *[b"a" * (PIECE // 4)] * 5)
    assert await client.refused() == (414, "too_large")


@pytest.mark.parametrize(
    "head",
    [
        b"".join(b"x-%d: y\r\n" % n for n in range(MAX_FIELDS)),
        b"".join(b"x-%d: %s\r\n" % (n, b"y" * 1000) for n in range(70)),
        b"x: " + b"y" * MAX_HEAD_BYTES + b"\r\n",
    ],
    ids=["many", "much", "long"],
)
async def test_the_status_is_431_when_header_fields_are_too_many_or_too_long(client: Client, head: bytes) -> None:
    await client.send(GET + head + b"\r\n")
    assert await client.refused() == (431, "too_large")


@pytest.mark.parametrize("start", [GET + b"x: ", GET + b"x", b"\r\n"], ids=["value", "name", "nothing"])
async def test_the_connection_is_closed_when_a_head_has_no_end(client: Client, start: bytes) -> None:
    more = b"\r\n" * (PIECE // 2) if start == b"\r\n" else b"y" * PIECE
    await client.send(start)
    with pytest.raises(ConnectionError):  # the server closes the connection long before all is sent
        await client.send(*[more] * 10_000)


async def test_the_status_is_431_when_trailer_fields_are_too_many(client: Client) -> None:
    fields = b"".join(b"x-%d: y\r\n" % n for n in range(MAX_FIELDS))
    await client.send(POST + b"transfer-encoding: chunked\r\n\r\n0\r\n" + fields + b"\r\n")
    assert await client.refused() == (431, "too_large")


@pytest.mark.parametrize(
    "text", [b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\nno colon\r\n\r\n", b"GET \xff HTTP/1.1\r\n\r\n", b"\x16\x03\x01"]
)
async def test_the_status_is_400_when_the_bytes_are_no_http(client: Client, text: bytes) -> None:
    await client.send(text)
    assert await client.refused() == (400, "malformed")


@pytest.mark.parametrize(
    "text",
    [
        POST + b"content-length: 3\r\ncontent-length: 4\r\n\r\nabc",
        POST + b"content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        POST + b"content-length: +3\r\n\r\nabc",
        POST + b"transfer-encoding: identity, chunked \x0b\r\n\r\n0\r\n\r\n",
    ],
)
async def test_a_request_is_refused_when_its_length_is_ambiguous(client: Client, text: bytes) -> None:
    await client.send(text)
    assert (await client.refused())[0] == 400


@pytest.mark.parametrize(
    "text", [GET, b"GET /th", POST + b"content-length: 3\r\n\r\nab", b"\r\n"], ids=["head", "line", "body", "blank"]
)
async def test_the_status_is_408_when_a_request_arrives_too_slowly(
    port: int, monkeypatch: pytest.MonkeyPatch, text: bytes
) -> None:
    monkeypatch.setattr(connection_limits, "HEAD_SECONDS", 0.2)
    monkeypatch.setattr(connection_limits, "BODY_SECONDS", 0.2)
    client = Client(*await asyncio.open_connection("127.0.0.1", port))
    await client.send(GET + b"\r\n")
    assert await client.answer() == (200, "thing")
    await client.send(text)
    assert await client.refused() == (408, "request_timeout")


async def test_an_idle_connection_is_closed_without_an_answer(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_limits, "HEAD_SECONDS", 0.1)
    reader, _ = await asyncio.open_connection("127.0.0.1", port)
    assert await reader.read() == b""


async def test_the_time_limit_of_a_request_begins_after_the_previous_answer(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_limits, "HEAD_SECONDS", 0.2)
    client = Client(*await asyncio.open_connection("127.0.0.1", port))
    await client.send(b"POST /slow HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\nab" + GET)
    await asyncio.sleep(0.25)
    monkeypatch.setattr(connection_limits, "HEAD_SECONDS", 10.0)  # the time limit begins with the answer
    assert await client.answer() == (200, 2)
    await asyncio.sleep(0.2)
    await client.send(b"\r\n")
    assert await client.answer() == (200, "thing")


async def test_no_second_answer_is_sent_when_a_body_arrives_slowly_after_its_answer(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_limits, "BODY_SECONDS", 0.3)
    client = Client(*await asyncio.open_connection("127.0.0.1", port))
    await client.send(POST + b"content-length: 20000000\r\n\r\n")
    assert await client.answer() == (413, ANY)
    await client.send(b"x")
    assert await client.reader.read() == b""


async def test_the_connection_is_closed_when_a_malformed_request_follows_one_being_answered(client: Client) -> None:
    slow = b"POST /slow HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\nab"
    await client.send(slow + b"nonsense\r\n\r\n")
    assert await client.reader.read() == b""


CHUNKED = POST + b"transfer-encoding: chunked\r\n"


async def test_trailer_fields_are_not_added_to_the_headers() -> None:
    """No field of a trailer is added to the headers, even if it arrives late."""
    seen: list[list[tuple[bytes, bytes]]] = []
    api = FastAPI(openapi_url=None)

    @api.post("/thing")
    async def take(request: Request) -> int:
        await request.body()
        seen.append(list(request.scope["headers"]))
        return 1 if "authorization" in request.headers or "x-forwarded-for" in request.headers else 0

    async with serving(api) as own:
        reader, writer = await asyncio.open_connection("127.0.0.1", own)
        client = Client(reader, writer)
        trailers = b"authorization: Bearer x\r\nx-forwarded-for: 203.0.113.9\r\nhost: evil\r\ncontent-type: a/b\r\n"
        for _ in range(2):
            await client.send(CHUNKED + b"\r\n3\r\nabc\r\n0\r\n" + trailers + b"\r\n")
            assert await client.answer() == (200, 0)
        await client.send(CHUNKED + b"\r\n3\r\nabc\r\n", b"0\r\nauthoriz", b"ation: Bearer x\r\n", b"\r\n")
        assert await client.answer() == (200, 0)
        writer.close()
    assert [[name for name, _ in headers] for headers in seen] == [[b"host", b"transfer-encoding"]] * 3


@pytest.mark.parametrize(
    "fields",
    [
        b"",
        b"host: a\r\nhost: a\r\n",
        b"host: a\r\nHost: b\r\n",
        b"host:\r\n",
        b"host: a b\r\n",
        b"host: a/b\r\n",
        b"host: user@a\r\n",
        b"host: a:80:80\r\n",
        b"host: a, b\r\n",
        b"host: [::1\r\n",
    ],
)
async def test_a_request_is_refused_when_it_has_not_one_valid_host(client: Client, fields: bytes) -> None:
    await client.send(b"GET /thing HTTP/1.1\r\n" + fields + b"\r\n")
    head = await client.reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    for name, value in SECURITY_HEADERS:
        assert name + b": " + value in head


@pytest.mark.parametrize("host", [b"a", b"units.example:8000", b"[::1]:80", b"127.0.0.1", b"a_b.example"])
async def test_a_host_may_be_a_name_or_an_address(client: Client, host: bytes) -> None:
    await client.send(b"GET /thing HTTP/1.1\r\nhost: " + host + b"\r\n\r\n")
    assert await client.answer() == (200, "thing")


async def test_http_1_0_needs_no_host(client: Client) -> None:
    await client.send(b"GET /thing HTTP/1.0\r\n\r\n")
    assert await client.answer() == (200, "thing")
