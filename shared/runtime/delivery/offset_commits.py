"""Offset commits to Kafka, in batches.

They serve tools only: the stored offsets say what was applied.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from shared.runtime.process.background import wait_until_set

COMMIT_DELAY_SECONDS = 0.5
"""Longest time for which an applied offset is not committed to Kafka."""

Commit = Callable[[Mapping[int, int]], Awaitable[None]]


class OffsetCommits:
    """The next offset of each partition, collected and committed together.

    So no batch waits for Kafka.
    """

    def __init__(self, commit: Commit, revoking: asyncio.Event) -> None:
        """Make an empty collection.

        ``revoking`` is set while partitions are revoked or the service stops: offsets are then committed at once.
        """
        self._commit = commit
        self._revoking = revoking
        self._nexts: dict[int, int] = {}
        self._task: asyncio.Task[None] | None = None

    async def add(self, nexts: Mapping[int, int]) -> None:
        """Commit these offsets within ``COMMIT_DELAY_SECONDS``.

        While partitions are revoked, they are committed before this returns.
        """
        self._nexts.update(nexts)
        if self._revoking.is_set():
            await self._commit_all()
        elif self._task is None:
            self._task = asyncio.create_task(self._commit_later(), name="offset-commits")

    async def flush(self) -> None:
        """Wait until everything is committed.

        This takes up to ``COMMIT_DELAY_SECONDS`` unless ``revoking`` is set.
        """
        if self._task:
            await self._task

    async def _commit_later(self) -> None:
        await wait_until_set(self._revoking, COMMIT_DELAY_SECONDS)
        self._task = None
        await self._commit_all()

    async def _commit_all(self) -> None:
        nexts, self._nexts = self._nexts, {}
        await self._commit(nexts)
