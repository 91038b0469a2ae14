"""A minimal HTTP/1.1 client that takes little processor time.

It shares the cores with the measured service.

Requests are prepared bytes; connections stay open; every answer must have a ``Content-Length``.
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import cast

from tests.bench.pace import Pace

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class UnexpectedAnswerError(Exception):
    """An answer had another status than expected; the message has its beginning."""


def request(method: str, path: str, *, token: str = "", content_type: str = "", body: bytes = b"") -> bytes:
    """Build the bytes of a request."""
    lines = [f"{method} {path} HTTP/1.1", "host: localhost", f"content-length: {len(body)}"]
    if token:
        lines.append(f"authorization: Bearer {token}")
    if content_type:
        lines.append(f"content-type: {content_type}")
    return "\r\n".join([*lines, "", ""]).encode() + body


class _Connection(asyncio.Protocol):
    """One open connection and its answer; an asyncio stream costs twice as much."""

    def __init__(self) -> None:
        self._came = b""
        self._answer: asyncio.Future[tuple[bytes, bytes]] | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionError("the service closed the connection"))

    def data_received(self, data: bytes) -> None:
        self._came += data
        head, end, body = self._came.partition(b"\r\n\r\n")
        length = _LENGTH.search(head) if end else None
        if length is not None and len(body) >= int(length[1]) and self._answer is not None:
            self._came = b""
            self._answer.set_result((head, body))

    async def ask(self, wanted: bytes) -> tuple[bytes, bytes]:
        """Send a request; return the head and the body of the answer."""
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(wanted)
        return await self._answer

    def close(self) -> None:
        """Close the connection."""
        assert self._transport is not None
        self._transport.close()


@dataclass(frozen=True, slots=True)
class HttpPool:
    """Open connections to one service, used in turn.

    A server closes connections that are idle for a few seconds.
    """

    free: "asyncio.Queue[_Connection]"
    expected: int

    async def ask(self, wanted: bytes) -> bytes:
        """Send a request when a connection is free; return the body of the answer.

        Raises:
            UnexpectedAnswerError
        """
        connection = await self.free.get()
        head, body = await connection.ask(wanted)
        self.free.put_nowait(connection)
        if int(head[9:12]) != self.expected:
            raise UnexpectedAnswerError(f"{head[9:12].decode()} {body[:500].decode(errors='replace')}")
        return body


@asynccontextmanager
async def http_pool(port: int, connections: int, *, expected: int = 200) -> AsyncIterator[HttpPool]:
    """Open this number of connections to a local port, for the block."""
    free: asyncio.Queue[_Connection] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    opened = [(await loop.create_connection(_Connection, "127.0.0.1", port))[1] for _ in range(connections)]
    for connection in opened:
        free.put_nowait(connection)
    try:
        yield HttpPool(free, expected)
    finally:
        for connection in opened:
            connection.close()


async def open_loop(through: HttpPool, pace: Pace, wanted: Callable[[int], bytes]) -> list[float]:
    """Send each request when it is due; return seconds from then to its answer.

    Requests of the warm-up are left out.
    """
    latencies: list[float] = []

    async def ask(number: int, due: float) -> None:
        await through.ask(wanted(number))
        if pace.counts(number):
            latencies.append(time.perf_counter() - due)

    async with asyncio.TaskGroup() as tasks:
        async for number, due in pace.steps():
            tasks.create_task(ask(number, due))
    return latencies


async def closed_loop(through: HttpPool, wanted: Sequence[bytes]) -> list[float]:
    """Send requests on all connections, one at a time each; return their seconds."""
    latencies: list[float] = []

    async def work(left: Iterable[bytes]) -> None:
        for one in left:
            started = time.perf_counter()
            await through.ask(one)
            latencies.append(time.perf_counter() - started)

    shared = iter(wanted)
    async with asyncio.TaskGroup() as tasks:
        for _ in range(through.free.qsize()):
            tasks.create_task(work(shared))
    return latencies
