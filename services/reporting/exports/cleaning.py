"""Deletion of files: of ended exports, their parts; of expired ones, all."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from services.reporting import metrics
from services.reporting.domain.exports import SHOWN_FOR
from services.reporting.exports.storage.storage import Storage
from services.reporting.store import export_queue as store
from shared.runtime.delivery.backoff import Backoff
from shared.runtime.postgres.pool import Pool
from shared.runtime.process import logging
from shared.runtime.process.background import repeat

BATCH: Final = 50
RETRY: Final = timedelta(minutes=1)
_log = logging.get("exports")


class Cleaning:
    """Expires exports whose time is over, and deletes files.

    A failure concerns one export, and is retried.
    """

    def __init__(self, pool: Pool, storage: Storage, *, clock: Callable[[], datetime], every_seconds: float) -> None:
        self._pool = pool
        self._storage = storage
        self._clock = clock
        self._every_seconds = every_seconds
        self._backoff = Backoff(30)

    async def run(self) -> None:
        """Clean at intervals, until cancelled."""
        await repeat(self._step, on_error=self._backoff.pause_if_transient)

    async def _step(self) -> float:
        count = await self.clean()
        self._backoff.reset()
        return 0 if count == BATCH else self._every_seconds

    async def clean(self) -> int:
        """Expire what is due, and delete the files of some exports; return of how many."""
        now = self._clock()
        async with self._pool.acquire() as connection:
            await store.expire_due(connection, now)
            await store.delete_old_exports(connection, now - SHOWN_FOR)
            metrics.EXPORTS_WAITING.set(await store.count_waiting(connection, now))
            found = await store.find_unclean(connection, now, BATCH)
        for one in found:
            await self._delete(one)
        return len(found)

    async def _delete(self, leftover: store.Leftover) -> None:
        try:
            await asyncio.to_thread(self._storage.delete_all, f"{leftover.export}/", leftover.kept)
        except Exception as error:
            _log.warning("export_files_not_deleted", export=leftover.export, error=repr(error))
            async with self._pool.acquire() as connection:
                await store.postpone_cleaning(connection, leftover.export, self._clock() + RETRY)
            return
        async with self._pool.acquire() as connection:
            await store.mark_clean(connection, leftover.export)
