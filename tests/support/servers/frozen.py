"""A server that hangs: it accepts connections and data, and answers nothing.

As after SIGSTOP.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit


class Freezer:
    """A proxy between a service and its PostgreSQL, which can stop forwarding.

    ``dsn`` connects through it.
    """

    def __init__(self, dsn: str) -> None:
        self._target = urlsplit(dsn)
        self._thawed = asyncio.Event()
        self._thawed.set()
        self.dsn = ""

    def freeze(self) -> None:
        """Stop forwarding data."""
        self._thawed.clear()

    def thaw(self) -> None:
        """Forward the delayed data, and all later data."""
        self._thawed.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward one connection in both directions until it ends."""
        await self._thawed.wait()
        there_reader, there_writer = await asyncio.open_connection(self._target.hostname, self._target.port)
        await asyncio.gather(
            self._carry(reader, there_writer), self._carry(there_reader, writer), return_exceptions=True
        )

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                await self._thawed.wait()
                writer.write(data)
                await writer.drain()
        finally:
            writer.close()


@asynccontextmanager
async def freezer(dsn: str) -> AsyncIterator[Freezer]:
    """Start a proxy to a server; its ``dsn`` connects through it."""
    between = Freezer(dsn)
    server = await asyncio.start_server(between.serve, "127.0.0.1", 0)
    parts = urlsplit(dsn)
    place = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    credentials = parts.netloc.rpartition("@")[0]
    between.dsn = parts._replace(netloc=f"{credentials}@{place}" if credentials else place).geturl()
    yield between
    between.thaw()
    server.close()
