"""What Kafka is told of how far a reader is: a hint for tools, as the stored offsets alone say what was applied."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

HINT_SECONDS = 0.5
"""How long Kafka may lag behind what is applied."""

Commit = Callable[[Mapping[int, int]], Awaitable[None]]


class Hints:
    """Gathers the next offset of each partition, so that no batch waits for Kafka to write it down."""

    def __init__(self, commit: Commit, let_go: asyncio.Event) -> None:
        """``let_go`` is set while partitions are being taken away, or the service stops: then there is no later."""
        self._commit = commit
        self._let_go = let_go
        self._nexts: dict[int, int] = {}
        self._telling: asyncio.Task[None] | None = None

    async def add(self, nexts: Mapping[int, int]) -> None:
        """Tell it soon; now, where there is no later."""
        self._nexts.update(nexts)
        if self._let_go.is_set():
            await self._tell()
        elif self._telling is None:
            self._telling = asyncio.create_task(self._tell_soon(), name="hints")

    async def told(self) -> None:
        """Wait until everything is told. Only where ``let_go`` is set does it not take its time."""
        if self._telling:
            await self._telling

    async def _tell_soon(self) -> None:
        try:
            async with asyncio.timeout(HINT_SECONDS):
                await self._let_go.wait()
        except TimeoutError:
            pass
        self._telling = None
        await self._tell()

    async def _tell(self) -> None:
        nexts, self._nexts = self._nexts, {}
        await self._commit(nexts)
