"""The worker: it claims exports, people in turn, and makes them."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Final
from uuid import UUID

from services.reporting import metrics
from services.reporting.domain.exports import ATTEMPTS_MAX, RUNNING_MAX, Claimed, retry_delay
from services.reporting.exports.formats.file_format import ExportError
from services.reporting.exports.production import LeaseLostError, Limits, Production
from services.reporting.exports.storage.storage import MissingFileError, StorageError, StorageFullError
from services.reporting.store import export_queue as store
from shared.runtime.delivery.backoff import Backoff, is_transient
from shared.runtime.postgres.pool import Pool
from shared.runtime.process import logging
from shared.runtime.process.background import repeat

BEATS: Final = 4
"""How often a lease is extended before it would end."""
_log = logging.get("exports")


class Worker:
    """Works on one export at a time; several may run in a process.

    ``can_work`` waits while the read model is incomplete. ``new_lease`` makes unguessable tokens. ``poll_seconds``:
    pause when there is nothing to do. ``retry``: first pause after a failure; it doubles.
    """

    def __init__(
        self,
        pool: Pool,
        production: Production,
        *,
        name: str,
        can_work: Callable[[], Awaitable[None]],
        clock: Callable[[], datetime],
        new_lease: Callable[[], UUID],
        limits: Limits,
        poll_seconds: float,
        retry: timedelta,
    ) -> None:
        self._pool = pool
        self._production = production
        self._name = name
        self._can_work = can_work
        self._clock = clock
        self._new_lease = new_lease
        self._limits = limits
        self._poll_seconds = poll_seconds
        self._retry = retry
        self._backoff = Backoff(30)

    async def run(self) -> None:
        """Work until cancelled.

        The export in work is released then, and goes on elsewhere.
        """
        await repeat(self._step, on_error=self._backoff.pause_if_transient)

    async def _step(self) -> float:
        await self._can_work()
        did_work = await self.work_on_one()
        self._backoff.reset()
        return 0 if did_work else self._poll_seconds

    async def work_on_one(self) -> bool:
        """Claim an export and work on it for its slice of time.

        Return whether there was one.
        """
        now = self._clock()
        async with self._pool.acquire() as connection, connection.transaction():
            lease, until = self._new_lease(), now + self._limits.lease
            claimed = await store.claim_export(
                connection, lease, self._name, now=now, until=until, running_max=RUNNING_MAX
            )
        if claimed is None:
            return False
        if claimed.attempts > ATTEMPTS_MAX:
            await self._fail(claimed, "It ended its worker each time. The operators can see why in the log.")
            return True
        _log.info("export_started", **_fields(claimed), attempt=claimed.attempts, parts=len(claimed.parts))
        try:
            is_finished = await self._work(claimed)
        except LeaseLostError:
            _log.info("export_left", **_fields(claimed))
        except asyncio.CancelledError:
            await self._release(claimed)
            raise
        except ExportError as error:
            await self._fail(claimed, str(error))
        except Exception as error:
            await self._retry_later(claimed, error)
        else:
            await self._end(claimed, is_finished=is_finished)
        return True

    async def _work(self, claimed: Claimed) -> bool:
        """Work while the lease is extended.

        Raises:
            LeaseLostError: the lease is not in force any more.
        """
        work = asyncio.create_task(self._production.work(claimed))
        seconds = self._limits.lease.total_seconds() / BEATS
        beat = partial(self._extend, claimed, seconds)
        beating = asyncio.create_task(repeat(beat, on_error=_pause_if_transient(seconds), first_after_seconds=seconds))
        try:
            await asyncio.wait({work, beating}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                beating.result()
            return await work
        finally:
            work.cancel()
            beating.cancel()
            await asyncio.gather(work, beating, return_exceptions=True)

    async def _extend(self, claimed: Claimed, seconds: float) -> float:
        async with self._pool.acquire() as connection:
            if not await store.extend_lease(connection, claimed, self._clock() + self._limits.lease):
                raise LeaseLostError
        return seconds

    async def _end(self, claimed: Claimed, *, is_finished: bool) -> None:
        if not is_finished:
            await self._release(claimed)
            return
        export = claimed.export
        seconds = (self._clock() - (export.started_at or export.requested_at)).total_seconds()
        metrics.EXPORTS.labels(report=export.report, format=export.format, outcome="succeeded").inc()
        metrics.EXPORT_SECONDS.labels(format=export.format).observe(seconds)
        _log.info("export_finished", **_fields(claimed), seconds=round(seconds, 3))

    async def _release(self, claimed: Claimed) -> None:
        async with self._pool.acquire() as connection:
            await store.release_export(connection, claimed)

    async def _fail(self, claimed: Claimed, message: str) -> None:
        async with self._pool.acquire() as connection:
            is_failed = await store.fail_export(connection, claimed, message, self._clock())
        if is_failed:
            export = claimed.export
            metrics.EXPORTS.labels(report=export.report, format=export.format, outcome="failed").inc()
            _log.warning("export_failed", **_fields(claimed))

    async def _retry_later(self, claimed: Claimed, error: Exception) -> None:
        async with self._pool.acquire() as connection:
            attempts = await store.count_failure(connection, claimed)
        if attempts is None:
            return
        pause = retry_delay(attempts, self._retry)
        _log.warning(
            "export_attempt_failed",
            **_fields(claimed),
            attempt=attempts,
            again_in_seconds=pause.total_seconds(),
            error=repr(error),
            exc_info=None if isinstance(error, StorageError | MissingFileError | TimeoutError) else error,
        )
        if attempts >= ATTEMPTS_MAX:
            await self._fail(claimed, _sentence(error))
            return
        async with self._pool.acquire() as connection:
            await store.retry_export(connection, claimed, self._clock() + pause)


def _fields(claimed: Claimed) -> dict[str, str]:
    export = claimed.export
    return {"export": export.id, "report": export.report, "format": export.format}


def _sentence(error: Exception) -> str:
    """Say to the requester why the last attempt failed."""
    match error:
        case StorageFullError():
            return "There is no space left where exports are stored. Ask the operators, then export it again."
        case StorageError() | MissingFileError():
            return "The place where exports are stored did not answer. Export it again later."
        case TimeoutError():
            return "It took too long. Choose a shorter time, or fewer subscriptions."
        case _:
            return "It could not be made because of a fault here, which was logged. Tell the operators its id."


def _pause_if_transient(seconds: float) -> Callable[[Exception], float]:
    """Return what to do after an error of the heartbeat.

    It is tried again if the database is away.
    """

    def pause(error: Exception) -> float:
        if not is_transient(error):
            raise error
        return seconds

    return pause
