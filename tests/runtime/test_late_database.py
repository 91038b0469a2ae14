"""A service that starts before its database waits until it can connect."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from deploy.local.ports import free_port
from shared.runtime.postgres.pool import DATABASE_ERRORS, new_pool, open_pool
from shared.runtime.process.settings import ServiceSettings
from tests.conftest import MakeDatabase


@asynccontextmanager
async def reachable(dsn: str, port: int) -> AsyncIterator[None]:
    """Forward connections from ``port`` to the server of ``dsn``."""
    parts = urlsplit(dsn)

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to_reader, to_writer = await asyncio.open_connection(parts.hostname, parts.port)
        await asyncio.gather(pump(reader, to_writer), pump(to_reader, writer), return_exceptions=True)

    server = await asyncio.start_server(forward, "127.0.0.1", port)
    try:
        yield
    finally:
        server.close()


async def test_a_pool_that_could_not_connect_is_opened_when_the_database_is_there(database: MakeDatabase) -> None:
    dsn, port = await database("alerts"), free_port()
    elsewhere = urlsplit(dsn)._replace(netloc=urlsplit(dsn).netloc.replace(f":{urlsplit(dsn).port}", f":{port}"))
    settings = ServiceSettings.model_validate({"database_url": elsewhere.geturl(), "pool_min_size": 2})
    pool = new_pool(settings, "alerts")
    for _ in range(3):
        error: BaseException | None = None
        try:
            await open_pool(pool, settings)
        except DATABASE_ERRORS as failed:
            error = failed
        assert isinstance(error, ConnectionError)
    async with reachable(dsn, port):
        await open_pool(pool, settings)
        assert pool.get_size() == pool.get_idle_size() == 2
        await pool.close()
