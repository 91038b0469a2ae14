"""LISTEN: what transactions anywhere changed, as they commit.

A backend that stands still sends no notices and no error. So it is asked, often and not for long: who waits is told to
look for themselves within ``ALIVE_SECONDS`` + ``ANSWER_SECONDS`` of the last notice that came.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from services.reporting.store.notices import CHANNEL
from shared.runtime.postgres.pool import DATABASE_ERRORS
from shared.runtime.process import logging

if TYPE_CHECKING:
    import asyncpg

ALIVE_SECONDS = 5.0
"""How long nothing may be heard before the connection is asked."""
ANSWER_SECONDS = 3.0
"""How long it may take to answer, and to begin."""
AGAIN_SECONDS = 1.0
"""After a loss, one begins anew after so long, each time."""
Connect = Callable[[], Awaitable["asyncpg.Connection[asyncpg.Record]"]]


class ConnectionLostError(Exception):
    """The listening connection ended; notices may have been missed."""


async def keep_listening(connect: Connect, hear: Callable[[str], None], look_again: Callable[[], None]) -> None:
    """Hand every notice to ``hear`` until cancelled. ``look_again`` is called whenever some may have been missed: when
    the connection is lost, and when one listens again.
    """
    log = logging.get("listen")
    while True:
        try:
            await listen(connect, hear, look_again)
        except (ConnectionLostError, *DATABASE_ERRORS) as error:
            log.warning("listening_interrupted", error=repr(error))
        finally:
            look_again()
        await asyncio.sleep(AGAIN_SECONDS)


async def listen(connect: Connect, hear: Callable[[str], None], begun: Callable[[], None]) -> None:
    """Hand every notice to ``hear`` until cancelled; ``begun`` is called once nothing is missed from then on.

    Raises:
        ConnectionLostError: the connection ended, or does not answer.
        one of ``DATABASE_ERRORS``: there is none.
    """
    async with asyncio.timeout(ANSWER_SECONDS):
        connection = await connect()
    try:
        heard = asyncio.Event()
        connection.add_termination_listener(lambda _: heard.set())

        def on_notice(*notice: Any) -> None:
            heard.set()
            hear(notice[3])

        async with asyncio.timeout(ANSWER_SECONDS):
            await connection.add_listener(CHANNEL, on_notice)
        begun()
        while not connection.is_closed():
            if not await _comes(heard, ALIVE_SECONDS):
                async with asyncio.timeout(ANSWER_SECONDS):
                    await connection.fetchval("SELECT true")
            heard.clear()
        raise ConnectionLostError("the connection that listens for changes ended")
    except TimeoutError as error:
        raise ConnectionLostError("the connection that listens for changes does not answer") from error
    finally:
        connection.terminate()


async def _comes(event: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
