"""Tasks that run beside the consumers until the service stops."""

import asyncio
from collections.abc import Awaitable, Callable

from shared.runtime.process import logging
from shared.runtime.process.health import Check

DELAY_SECONDS = 0.5
DELAY_MAX_SECONDS = 30.0


def _never(_error: Exception) -> bool:
    return False


class BackgroundTask:
    """Runs ``work`` until the service stops: when it fails or returns it is logged and begun again after a back-off.

    ``is_transient``: errors that need no stack trace. ``is_shared``: those that every replica meets.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[], Awaitable[None]],
        *,
        is_transient: Callable[[Exception], bool] = _never,
        is_shared: Callable[[Exception], bool] = _never,
    ) -> None:
        self.name = name
        self._work = work
        self._is_transient = is_transient
        self._is_shared = is_shared
        self._fault: str | None = None
        self._fault_is_shared = False
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
                self._fault, self._fault_is_shared = "it ended", False
            except Exception as error:
                self._fault, self._fault_is_shared = repr(error), self._is_shared(error)
                if self._is_transient(error):
                    self._log.warning("background_task_failed", error=repr(error), again_in_seconds=delay)
                else:
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
        return Check(ok=self._fault is None, detail=self._fault or "running", shared=self._fault_is_shared)
