"""Tasks that run beside the consumers until the service stops."""

import asyncio
from collections.abc import Awaitable, Callable

from shared.runtime.process import logging
from shared.runtime.process.health import Check

DELAY_SECONDS = 0.5
DELAY_MAX_SECONDS = 30.0


class BackgroundTask:
    """Runs ``work`` for ever: when it fails or returns it is logged and begun again after a back-off."""

    def __init__(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        self.name = name
        self._work = work
        self._fault: str | None = None
        self._log = logging.get("background").bind(task=name)

    async def run(self) -> None:
        """Until cancelled."""
        loop = asyncio.get_running_loop()
        delay = DELAY_SECONDS
        while True:
            well = loop.call_later(DELAY_SECONDS, self._is_well)
            started = loop.time()
            try:
                await self._work()
                self._fault = "it ended"
            except Exception as error:
                self._fault = repr(error)
                self._log.exception("background_task_failed", again_in_seconds=delay)
            finally:
                well.cancel()
            if loop.time() - started > DELAY_MAX_SECONDS:
                delay = DELAY_SECONDS
            await asyncio.sleep(delay)
            delay = min(delay * 2, DELAY_MAX_SECONDS)

    def _is_well(self) -> None:
        self._fault = None

    async def check(self) -> Check:
        """Red after a failure, until it has run again for a moment."""
        return Check(ok=self._fault is None, detail=self._fault or "running")
