"""Background tasks: loops that run beside the consumers.

They run until the service stops, and are restarted after a failure.
"""

import asyncio
from collections.abc import Awaitable, Callable

from shared.runtime.process import logging
from shared.runtime.process.health import Check

DELAY_SECONDS = 0.5
DELAY_MAX_SECONDS = 30.0


async def repeat(
    step: Callable[[], Awaitable[float]],
    *,
    woken: asyncio.Event | None = None,
    on_error: Callable[[Exception], float] | None = None,
    first_after_seconds: float = 0,
) -> None:
    """Run ``step`` until cancelled, with pauses.

    ``step`` returns the seconds of the pause after it.
    ``woken`` ends such a pause early when it is set; it is cleared before each run, so that nothing is missed.
    ``on_error`` returns the seconds to wait after an error, which nothing shortens, or raises to end the loop.
    ``first_after_seconds``: pause before the first run.

    Every loop that goes on until it is stopped is this one, except ``BackgroundTask.run``, which restarts it. What
    ends by itself is not: a loop that takes all there is, polls until something is so, tries one thing again for a
    time, or yields to its caller (``tests/architecture/test_loops.py`` lists those that pause).
    """
    if first_after_seconds:
        await asyncio.sleep(first_after_seconds)
    while True:
        if woken is not None:
            woken.clear()
        try:
            pause_seconds = await step()
        except Exception as error:
            if on_error is None:
                raise
            await asyncio.sleep(on_error(error))
            continue
        if woken is None:
            await asyncio.sleep(pause_seconds)
        elif pause_seconds > 0:
            await wait_until_set(woken, pause_seconds)


async def wait_until_set(event: asyncio.Event, timeout_seconds: float) -> bool:
    """Wait for ``event`` at most that long; whether it was set."""
    try:
        async with asyncio.timeout(timeout_seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True


def _never(_error: Exception) -> bool:
    return False


class BackgroundTask:
    """A task that runs ``work`` until the service stops.

    ``work`` is restarted with backoff when it fails or returns.
    ``is_transient``: errors logged without a stack trace. ``is_shared``: errors that concern every replica.
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
        """Run until cancelled."""
        loop = asyncio.get_running_loop()
        delay = DELAY_SECONDS
        while True:
            recovery = loop.call_later(DELAY_SECONDS, self._clear_fault)
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
                recovery.cancel()
            if loop.time() - started > DELAY_MAX_SECONDS:
                delay = DELAY_SECONDS
            await asyncio.sleep(delay)
            delay = min(delay * 2, DELAY_MAX_SECONDS)

    def _clear_fault(self) -> None:
        self._fault = None

    async def check(self) -> Check:
        """Not ok after a failure, until the restarted work has run for ``DELAY_SECONDS``."""
        return Check(ok=self._fault is None, detail=self._fault or "running", shared=self._fault_is_shared)
