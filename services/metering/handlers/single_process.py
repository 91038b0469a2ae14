"""A task that one process at a time carries out, with a connection of its own."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from shared.runtime.postgres.pool import Connection
from shared.runtime.process.background import repeat

STANDBY_SECONDS: Final = 1.0

Connect = Callable[[], Awaitable[Connection]]


async def repeat_in_one_process(
    connect: Connect,
    try_lock: Callable[[Connection], Awaitable[bool]],
    step: Callable[[Connection], Awaitable[float]],
) -> None:
    """Repeat ``step`` until cancelled, once this process has the lock.

    ``try_lock`` takes it for as long as the connection lives. ``step`` returns the seconds until the next one; its
    errors are raised.
    """
    connection = await connect()
    try:
        while not await try_lock(connection):  # noqa: ASYNC110  # another process holds it
            await asyncio.sleep(STANDBY_SECONDS)
        await repeat(lambda: step(connection))
    finally:
        connection.terminate()
