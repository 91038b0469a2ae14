"""An HTTP/1.1 client as lean as can be, since it runs on the cores of what it measures; one process beside the service.

Requests are bytes made beforehand; connections stay open; every answer must have a ``Content-Length``.
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from tests.bench.pace import Pace

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class UnexpectedAnswerError(Exception):
    """Another status than the one that was to be measured; with the answer's beginning."""


def request(method: str, path: str, *, token: str = "", content_type: str = "", body: bytes = b"") -> bytes:
    """A request's bytes."""
    lines = [f"{method} {path} HTTP/1.1", "host: localhost", f"content-length: {len(body)}"]
    if token:
        lines.append(f"authorization: Bearer {token}")
    if content_type:
        lines.append(f"content-type: {content_type}")
    return "\r\n".join([*lines, "", ""]).encode() + body


@dataclass(frozen=True, slots=True)
class Door:
    """Open connections to one service, taken in turn: a server closes one that is idle for a few seconds."""

    free: "asyncio.Queue[_Streams]"
    expected: int

    async def ask(self, wanted: bytes) -> bytes:
        """The body of the answer, once a connection was free.

        Raises:
            UnexpectedAnswerError
        """
        reader, writer = streams = await self.free.get()
        writer.write(wanted)
        head = await reader.readuntil(b"\r\n\r\n")
        length = _LENGTH.search(head)
        assert length is not None, head
        body = await reader.readexactly(int(length[1]))
        self.free.put_nowait(streams)
        if int(head[9:12]) != self.expected:
            raise UnexpectedAnswerError(f"{head[9:12].decode()} {body[:500].decode(errors='replace')}")
        return body


@asynccontextmanager
async def door(port: int, connections: int, *, expected: int = 200) -> AsyncIterator[Door]:
    """So many connections to a local port."""
    free: asyncio.Queue[_Streams] = asyncio.Queue()
    opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(connections)]
    for streams in opened:
        free.put_nowait(streams)
    try:
        yield Door(free, expected)
    finally:
        for _, writer in opened:
            writer.close()


async def open_loop(through: Door, pace: Pace, wanted: Callable[[int], bytes]) -> list[float]:
    """Ask when due; the seconds from then to the answer, of each after the warm-up."""
    latencies: list[float] = []

    async def ask(number: int, due: float) -> None:
        await through.ask(wanted(number))
        if pace.counts(number):
            latencies.append(time.perf_counter() - due)

    async with asyncio.TaskGroup() as tasks:
        async for number, due in pace.steps():
            tasks.create_task(ask(number, due))
    return latencies


async def closed_loop(through: Door, wanted: Sequence[bytes]) -> list[float]:
    """Ask as fast as the answers come, on all connections; the seconds that each took."""
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
