"""Whether what a service keeps of others' events is whole: while it is not, nothing is answered or decided from it."""

import asyncio
from collections.abc import Mapping
from datetime import timedelta

from shared.runtime.postgres.pool import DATABASE_ERRORS, Connection, Pool
from shared.runtime.process import logging
from shared.runtime.process.background import repeat
from shared.runtime.process.health import Check

LOOK_SECONDS = 0.5
NOTICED_SECONDS = 2.0
"""So long after a rebuild is announced every replica has noticed it."""
ANNOUNCED = timedelta(seconds=60)
"""A rebuild that has not begun by then will not."""

_BEGIN = """
INSERT INTO rebuilds (topic, partition, until_offset)
SELECT * FROM unnest($1::text[], $2::int[], $3::bigint[])
ON CONFLICT (topic, partition) DO UPDATE
SET until_offset = excluded.until_offset, is_emptied = false, announced_at = now()
"""
_EMPTIED = "UPDATE rebuilds SET is_emptied = true"
_END = "DELETE FROM rebuilds"
_LEFT = """
SELECT
    count(*) AS partitions,
    coalesce(sum(greatest(0, until_offset - CASE WHEN is_emptied THEN coalesce(next_offset, 0) ELSE 0 END)) FILTER (
        WHERE is_emptied OR announced_at > now() - $2::interval
    ), 0)::bigint AS records
FROM rebuilds LEFT JOIN consumer_offsets AS stored
    ON stored.reader = $1 AND stored.topic = rebuilds.topic AND stored.partition = rebuilds.partition
"""


async def announce(connection: Connection, ends: Mapping[tuple[str, int], int]) -> None:
    """Say up to where each partition must be applied before the read model is whole."""
    topics, partitions = [topic for topic, _ in ends], [partition for _, partition in ends]
    await connection.execute(_BEGIN, topics, partitions, list(ends.values()))


async def note_emptied(connection: Connection) -> None:
    """From now on what is applied counts."""
    await connection.execute(_EMPTIED)


class Wholeness:
    """Watched by each process. ``is_whole`` may be asked at any time; it lags by less than a second."""

    def __init__(self, pool: Pool, service: str) -> None:
        self._pool = pool
        self._service = service
        self._whole = asyncio.Event()
        self._whole.set()
        self._left = 0
        self._log = logging.get(service)

    @property
    def is_whole(self) -> bool:
        """Whether there is no rebuild under way."""
        return self._whole.is_set()

    async def wait(self) -> None:
        """Until there is none."""
        await self._whole.wait()

    async def run(self) -> None:
        """Look until cancelled."""

        async def check_once() -> float:
            try:
                await self.look()
            except DATABASE_ERRORS as error:
                self._log.debug("rebuild_not_looked_for", error=repr(error))
            return LOOK_SECONDS

        await repeat(check_once)

    async def look(self) -> None:
        """Once; where all is applied, the rebuild is over."""
        row = await self._pool.fetchrow(_LEFT, self._service, ANNOUNCED)
        assert row is not None  # noqa: S101 - an aggregate
        self._left = row["records"]
        if row["partitions"] and not self._left:
            await self._pool.execute(_END)
            self._log.info("rebuild_over")
        if self._left:
            self._whole.clear()
        else:
            self._whole.set()

    async def check(self) -> Check:
        """For readiness: what would be answered while this is rebuilt would be wrong."""
        detail = "whole" if self.is_whole else f"being rebuilt: {self._left} records to go"
        return Check(ok=self.is_whole, detail=detail)
