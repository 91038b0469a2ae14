"""The state of a service's read model.

While it is being rebuilt, nothing is answered or decided from it.
"""

import asyncio
from collections.abc import Mapping
from datetime import timedelta

from shared.runtime.postgres.pool import DATABASE_ERRORS, Connection, Pool
from shared.runtime.process import logging
from shared.runtime.process.background import repeat
from shared.runtime.process.health import Check

POLL_SECONDS = 0.5
NOTICE_SECONDS = 2.0
"""Time after which every replica knows of an announced rebuild."""
ANNOUNCEMENT_TTL = timedelta(seconds=60)
"""Time after which an announced rebuild that has not begun is taken for abandoned."""

_ANNOUNCE = """
INSERT INTO rebuilds (topic, partition, until_offset)
SELECT * FROM unnest($1::text[], $2::int[], $3::bigint[])
ON CONFLICT (topic, partition) DO UPDATE
SET until_offset = excluded.until_offset, is_emptied = false, announced_at = now()
"""
_SET_EMPTIED = "UPDATE rebuilds SET is_emptied = true"
_DELETE = "DELETE FROM rebuilds"
_COUNT_LEFT = """
SELECT
    count(*) AS partitions,
    coalesce(sum(greatest(0, until_offset - CASE WHEN is_emptied THEN coalesce(next_offset, 0) ELSE 0 END)) FILTER (
        WHERE is_emptied OR announced_at > now() - $2::interval
    ), 0)::bigint AS records
FROM rebuilds LEFT JOIN consumer_offsets AS stored
    ON stored.reader = $1 AND stored.topic = rebuilds.topic AND stored.partition = rebuilds.partition
"""


async def announce(connection: Connection, ends: Mapping[tuple[str, int], int]) -> None:
    """Announce a rebuild.

    It is complete when each partition is applied up to its end in ``ends``.
    """
    topics, partitions = [topic for topic, _ in ends], [partition for _, partition in ends]
    await connection.execute(_ANNOUNCE, topics, partitions, list(ends.values()))


async def record_emptied(connection: Connection) -> None:
    """Record that the read model is empty.

    Stored offsets count towards its completion from now on.
    """
    await connection.execute(_SET_EMPTIED)


class ReadModelState:
    """The state in the table ``rebuilds``, which each process polls.

    ``is_complete`` lags behind the table by less than a second.
    """

    def __init__(self, pool: Pool, service: str) -> None:
        self._pool = pool
        self._service = service
        self._complete = asyncio.Event()
        self._complete.set()
        self._left = 0
        self._log = logging.get(service)

    @property
    def is_complete(self) -> bool:
        """Whether no rebuild is running."""
        return self._complete.is_set()

    async def wait_until_complete(self) -> None:
        """Wait until no rebuild is running."""
        await self._complete.wait()

    async def run(self) -> None:
        """Poll until cancelled."""

        async def poll() -> float:
            try:
                await self.refresh()
            except DATABASE_ERRORS as error:
                self._log.debug("rebuild_not_polled", error=repr(error))
            return POLL_SECONDS

        await repeat(poll)

    async def refresh(self) -> None:
        """Reread how many records are missing; when none are, end the rebuild."""
        row = await self._pool.fetchrow(_COUNT_LEFT, self._service, ANNOUNCEMENT_TTL)
        assert row is not None  # noqa: S101 - an aggregate
        self._left = row["records"]
        if row["partitions"] and not self._left:
            await self._pool.execute(_DELETE)
            self._log.info("rebuild_completed")
        if self._left:
            self._complete.clear()
        else:
            self._complete.set()

    async def check(self) -> Check:
        """The readiness check: not ok during a rebuild, when answers would be wrong."""
        detail = "complete" if self.is_complete else f"being rebuilt: {self._left} records to go"
        return Check(ok=self.is_complete, detail=detail)
