"""LISTEN and NOTIFY: typed channels, and listening that notices a dead connection.

A backend that hangs sends no notices and no error. So a connection that is silent is checked often: what may have been
missed is reported within ``ALIVE_SECONDS`` + ``ANSWER_SECONDS`` of the last notice that came.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from shared.runtime.postgres.pool import DATABASE_ERRORS, Connection
from shared.runtime.process import logging
from shared.runtime.process.background import repeat, wait_until_set

if TYPE_CHECKING:
    import asyncpg

T = TypeVar("T")

ALIVE_SECONDS = 5.0
"""Longest silence before the connection is checked."""
ANSWER_SECONDS = 3.0
"""Longest time for connecting, for LISTEN, and for the answer to a check."""
RECONNECT_SECONDS = 1.0
"""Pause between losing a connection and opening the next."""


@dataclass(frozen=True, slots=True)
class Channel(Generic[T]):
    """A NOTIFY channel; ``parse`` makes a notice of its payload."""

    name: str
    parse: Callable[[str], T]


def wake_channel(name: str) -> Channel[None]:
    """A channel without payload: a notice only says that there is something to do."""
    return Channel(name, lambda _: None)


class ConnectionLostError(Exception):
    """The listening connection ended; notices may have been missed."""


async def add_listener(connection: Connection, channel: Channel[T], on_notice: Callable[[T], None]) -> None:
    """LISTEN on a connection that the caller owns and checks.

    ``on_notice`` is called with each notice of ``channel``.
    """
    await connection.add_listener(channel.name, lambda *notice: on_notice(channel.parse(str(notice[3]))))


async def keep_listening(
    connect: Callable[[], Awaitable["asyncpg.Connection[asyncpg.Record]"]],
    channel: Channel[T],
    on_notice: Callable[[T], None],
    on_missed: Callable[[], None],
) -> None:
    """Call ``on_notice`` with each notice until cancelled.

    The connection is opened again after every loss.

    ``on_missed`` is called whenever notices may have been missed: when the connection is lost, and when LISTEN is in
    effect again.
    """
    log = logging.get("listen")

    async def listen_once() -> float:
        try:
            await listen(connect, channel, on_notice, on_missed)
        finally:
            on_missed()
        return RECONNECT_SECONDS

    def on_error(error: Exception) -> float:
        if not isinstance(error, (ConnectionLostError, *DATABASE_ERRORS)):
            raise error
        log.warning("listening_interrupted", error=repr(error))
        return RECONNECT_SECONDS

    await repeat(listen_once, on_error=on_error)


async def listen(
    connect: Callable[[], Awaitable["asyncpg.Connection[asyncpg.Record]"]],
    channel: Channel[T],
    on_notice: Callable[[T], None],
    on_begin: Callable[[], None],
) -> None:
    """Call ``on_notice`` with each notice until cancelled.

    ``on_begin`` is called once LISTEN is in effect.

    Raises:
        ConnectionLostError: the connection ended, or does not answer.
        one of ``DATABASE_ERRORS``: it could not be opened.
    """
    async with asyncio.timeout(ANSWER_SECONDS):
        connection = await connect()
    try:
        heard = asyncio.Event()
        connection.add_termination_listener(lambda _: heard.set())

        def hear(*notice: Any) -> None:
            heard.set()
            on_notice(channel.parse(notice[3]))

        async with asyncio.timeout(ANSWER_SECONDS):
            await connection.add_listener(channel.name, hear)
        on_begin()
        while not connection.is_closed():
            if not await wait_until_set(heard, ALIVE_SECONDS):
                async with asyncio.timeout(ANSWER_SECONDS):
                    await connection.fetchval("SELECT true")
            heard.clear()
        raise ConnectionLostError("the connection that listens for changes ended")
    except TimeoutError as error:
        raise ConnectionLostError("the connection that listens for changes does not answer") from error
    finally:
        connection.terminate()
