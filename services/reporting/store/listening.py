"""LISTEN: what transactions anywhere changed, as they commit."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from services.reporting.store.notices import CHANNEL

if TYPE_CHECKING:
    import asyncpg

ALIVE_SECONDS = 10


class ConnectionLostError(Exception):
    """The listening connection ended; notices may have been missed."""


async def listen(
    connect: Callable[[], Awaitable["asyncpg.Connection[asyncpg.Record]"]],
    hear: Callable[[str], None],
    begun: Callable[[], None],
) -> None:
    """Hand every notice to ``hear`` until cancelled; ``begun`` is called once nothing is missed from then on.

    Raises:
        ConnectionLostError: the connection ended.
    """
    connection = await connect()
    try:
        ended = asyncio.Event()
        connection.add_termination_listener(lambda _: ended.set())
        await connection.add_listener(CHANNEL, _heard_by(hear))
        begun()
        while not await _comes(ended, ALIVE_SECONDS):
            await connection.fetchval("SELECT true")
        raise ConnectionLostError("the connection that listens for changes ended")
    finally:
        await connection.close(timeout=2)


async def _comes(event: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True


def _heard_by(hear: Callable[[str], None]) -> Callable[..., None]:
    def heard(*notice: Any) -> None:
        hear(notice[3])

    return heard
