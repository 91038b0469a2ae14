"""The database's clock. Everything is decided by it, since all replicas share it.

A process whose own clock is wrong decides the same as the others; readiness and a metric show the difference.
"""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime

from shared.runtime.postgres.pool import DATABASE_ERRORS, Connection, Pool
from shared.runtime.process import logging, metrics
from shared.runtime.process.background import repeat
from shared.runtime.process.health import Check

MEASURE_SECONDS = 2.0
ANSWER_SECONDS = 2.0
"""Longest measurement: a slower answer is too imprecise."""
_NOW = "SELECT extract(epoch FROM clock_timestamp())::float8"


async def database_now(connection: Connection) -> datetime:
    """The database's present time, read once."""
    return datetime.fromtimestamp(await connection.fetchval(_NOW), UTC)


class DatabaseClock:
    """A clock that shows the database's time as last measured.

    It shows this machine's time until the first measurement.
    Between measurements it runs by the monotonic clock, so that setting the machine's clock moves nothing.
    ``tolerated_seconds``: largest difference at which the clocks agree. ``wall``, ``monotonic``: clocks in seconds,
    for tests.
    """

    def __init__(
        self,
        pool: Pool,
        *,
        tolerated_seconds: float,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pool = pool
        self._tolerated = tolerated_seconds
        self._wall = wall
        self._monotonic = monotonic
        self._ahead = wall() - monotonic()
        """The database's time, less ``monotonic``."""
        self._agrees = asyncio.Event()
        self._agrees.set()
        self._log = logging.get("clock")
        self.offset_seconds = 0.0
        """Seconds by which this machine's clock is ahead of the database's.

        They are negative if it is behind, and 0 within the measurement's precision.
        """

    def __call__(self) -> datetime:
        """The database's present time, in UTC."""
        return datetime.fromtimestamp(self._monotonic() + self._ahead, UTC)

    @property
    def agrees(self) -> bool:
        """Whether this machine's clock agrees with the database's.

        They may differ by no more than is tolerated.
        """
        return self._agrees.is_set()

    async def wait(self) -> None:
        """Wait until the two clocks agree.

        If they do not, this process cannot know which one is wrong.
        """
        await self._agrees.wait()

    async def run(self) -> None:
        """Measure until cancelled."""

        async def measure_once() -> float:
            try:
                await self.measure()
            except DATABASE_ERRORS as error:
                self._log.debug("clock_not_measured", error=repr(error))
            return MEASURE_SECONDS

        await repeat(measure_once)

    async def measure(self) -> None:
        """Measure the difference once.

        Raises:
            one of ``DATABASE_ERRORS``: no answer in time; the last measurement stays in force.
        """
        async with asyncio.timeout(ANSWER_SECONDS), self._pool.acquire() as connection:
            wall, began = self._wall(), self._monotonic()
            database: float = await connection.fetchval(_NOW)
            took = self._monotonic() - began
        self.take(database, began, wall, took)

    def take(self, database: float, began: float, wall: float, took: float) -> None:
        """Adjust to one measurement. All values are seconds.

        The query began at ``began`` of the monotonic clock and ``wall`` of this machine's clock, and took ``took``;
        meanwhile the database's clock showed ``database``. A measurement that agrees with the present adjustment
        changes nothing, so that the time does not jitter.
        """
        self._ahead = min(max(self._ahead, database - began - took), database - began)
        self.offset_seconds = max(0.0, wall - database) or min(0.0, wall + took - database)
        metrics.CLOCK_OFFSET_SECONDS.set(self.offset_seconds)
        agrees = abs(self.offset_seconds) <= self._tolerated
        if agrees == self.agrees:
            return
        if agrees:
            self._agrees.set()
            self._log.info("clock_agrees", offset_seconds=round(self.offset_seconds, 3))
        else:
            self._agrees.clear()
            self._log.error("clock_differs", detail=self._difference())

    async def check(self) -> Check:
        """The readiness check: not ok while the clocks differ by more than tolerated."""
        return Check(ok=self.agrees, detail=self._difference())

    def _difference(self) -> str:
        """The difference of the clocks, as a sentence."""
        if not self.offset_seconds:
            return "as the database's"
        direction = "ahead of" if self.offset_seconds > 0 else "behind"
        sentence = f"{abs(self.offset_seconds):.3f} s {direction} the database's"
        return sentence if self.agrees else f"{sentence}: nothing is decided by the time until one of them is set right"
