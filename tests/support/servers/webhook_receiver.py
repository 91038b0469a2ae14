"""An HTTP server that receives webhooks, verifies them, and fails on request."""

import asyncio
import base64
import json
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from standardwebhooks import Webhook

SECRET = "whsec_" + base64.b64encode(b"a secret that only two know of").decode()
Reply = int | Literal["silent"]


@dataclass
class Receiver:
    """A receiver of webhooks whose next answers are in ``replies``.

    A reply is a status, or ``silent``: no answer. When none is left, the status is 200. ``received`` has id and payload
    of every request, ``accepted`` the ids of those answered with a 2xx status, ``request_headers`` the headers of every
    request. ``headers``: text added to every answer.
    """

    url: str = ""
    replies: deque[Reply] = field(default_factory=deque)
    received: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    accepted: list[str] = field(default_factory=list)
    hosts: list[str] = field(default_factory=list)
    request_headers: list[dict[str, str]] = field(default_factory=list)
    headers: str = ""
    _open: set[asyncio.Task[Any]] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            lines = (line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
            headers = {name.lower(): value for name, value in lines}
            self.hosts.append(headers["host"])
            self.request_headers.append(headers)
            body = await reader.readexactly(int(headers["content-length"]))
            await self._answer(headers, body, writer)
        except (asyncio.CancelledError, ConnectionError):
            pass
        finally:
            self._open.discard(task)
            writer.close()

    async def _answer(self, headers: dict[str, str], body: bytes, writer: asyncio.StreamWriter) -> None:
        payload = Webhook(SECRET).verify(body, headers)
        assert payload == json.loads(body)
        self.received.append((headers["webhook-id"], payload))
        reply = self.replies.popleft() if self.replies else 200
        if reply == "silent":
            await asyncio.sleep(60)
            return
        if reply < 300:
            self.accepted.append(headers["webhook-id"])
        extra = f"Location: {self.url}\r\n" if 300 <= reply < 400 else ""
        answer = "a secret page " * 1000 if reply >= 300 else ""
        writer.write(
            f"HTTP/1.1 {reply} X\r\n{self.headers}{extra}Content-Length: {len(answer)}\r\n\r\n{answer}".encode()
        )
        await writer.drain()

    def stop(self) -> None:
        """Cancel the requests that are not answered."""
        for task in self._open:
            task.cancel()


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """Run a receiver on a free port within the block."""
    receiver = Receiver()
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    receiver.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook?of=acme"
    try:
        yield receiver
    finally:
        receiver.stop()
        server.close()
