"""The daily run: forecasts of all subscriptions, one at a time across replicas.

Each forecast has a short transaction of its own, in which this process has the lock of the run. What is due is what has
no forecast since the last ``insights_at``, so a run that was interrupted goes on where it was. A subscription that
fails is set aside, and the others go on.
"""

import time
from collections import deque
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from datetime import time as time_of_day
from typing import Final, Literal

from services.reporting.insights.forecasting import make_forecast
from services.reporting.store.insights import delete_old_forecasts, find_due, is_made, lock_run, try_lock_run
from shared.runtime.delivery.isolation import concerns_one
from shared.runtime.delivery.set_aside_work import SetAside
from shared.runtime.delivery.transaction import PermanentError, Transaction
from shared.runtime.postgres.pool import is_lock_or_timeout
from shared.runtime.process.background import repeat

INSIGHTS: Final = "insights"
RETENTION: Final = timedelta(days=366)
FOUND_AT_ONCE: Final = 100
DELETED_AT_ONCE: Final = 1000
Outcome = Literal["made", "failed", "locked"]
"""What became of one forecast; ``locked``: another process has the lock."""


class DailyRun:
    """The background task that makes forecasts.

    ``at``: when they are due, in UTC.
    """

    def __init__(
        self,
        transaction: Callable[[], AbstractAsyncContextManager[Transaction]],
        clock: Callable[[], datetime],
        aside: SetAside,
        *,
        at: time_of_day,
        poll_seconds: float,
    ) -> None:
        self._transaction = transaction
        self._clock = clock
        self._aside = aside
        self._at = at
        self._poll_seconds = poll_seconds
        self._found: deque[str] = deque()
        self._after = ""
        """The subscription tried last: one that interrupts the run is not next again."""

    async def run(self) -> None:
        """Make the forecasts that are due, until cancelled."""
        await repeat(self.make_next)

    async def make_next(self) -> float:
        """Make the next forecast that is due; return the seconds to pause.

        The pause is half as long as the work took, so that requests get at least a third of the time.
        """
        due_at = last_due(self._clock(), self._at)
        if not self._found:
            self._found.extend(await self._find(due_at))
        if not self._found:
            return self._poll_seconds
        began = time.monotonic()
        self._after = self._found.popleft()
        outcome = await self.make(self._after, due_at)
        return self._poll_seconds if outcome == "locked" else (time.monotonic() - began) / 2

    async def make(self, subscription: str, due_at: datetime, *, wait: bool = False) -> Outcome:
        """Make one forecast, unless there is one since ``due_at``.

        ``wait``: for the lock, while another process makes one.
        """
        try:
            async with self._transaction() as tx:
                if wait:
                    await lock_run(tx.connection)
                elif not await try_lock_run(tx.connection):
                    return "locked"
                await self._aside.begin(tx.connection)
                if not await is_made(tx.connection, subscription, due_at):
                    await make_forecast(tx, subscription)
                await self._aside.clear(tx.connection, [subscription])
        except Exception as error:
            if not _concerns_one(error):
                raise
            async with self._transaction() as tx:
                await self._aside.add(tx, subscription, subscription, error)
            return "failed"
        return "made"

    async def _find(self, due_at: datetime) -> list[str]:
        """Find the next subscriptions that are due, beginning again after the last."""
        async with self._transaction() as tx:
            await self._aside.begin(tx.connection)
            waiting = (await self._aside.load(tx.connection, tx.now)).waiting
            found = await find_due(tx.connection, due_at, self._after, waiting, FOUND_AT_ONCE)
            if not found:
                self._after = ""
                found = await find_due(tx.connection, due_at, self._after, waiting, FOUND_AT_ONCE)
            if not found:
                await delete_old_forecasts(tx.connection, tx.now - RETENTION, DELETED_AT_ONCE)
        return found


def last_due(now: datetime, at: time_of_day) -> datetime:
    """Return the last instant at which forecasts were due, at a time of day in UTC."""
    today = datetime.combine(now.date(), at, UTC)
    return today if today <= now else today - timedelta(days=1)


def _concerns_one(error: Exception) -> bool:
    """Return whether an error may concern one subscription alone.

    A statement that takes too long does, since it reads the rows of one.
    """
    return concerns_one(error) or is_lock_or_timeout(error) or isinstance(error, PermanentError)
