"""Lookups of many requests, answered by one read."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")
AT_ONCE = 500
"""Most requests that one lookup answers."""


class CoalescedLookup(Generic[K, V]):
    """Coalesce requests: those that arrive during one lookup wait for the next.

    A lookup answers up to ``AT_ONCE`` requests. It begins after all of them have arrived, so no answer is older than
    its request. One lookup runs at a time: the higher the load, the more requests each answers. ``lookup`` returns a
    value for each key, in their order; an exception that it raises goes to every request of that lookup.
    """

    def __init__(self, lookup: Callable[[Sequence[K]], Awaitable[Sequence[V]]]) -> None:
        self._lookup = lookup
        self._waiting: list[tuple[K, asyncio.Future[V]]] = []
        self._task: asyncio.Task[None] | None = None

    async def get(self, key: K) -> V:
        """Return the value of ``key``, as of this call or later."""
        answer: asyncio.Future[V] = asyncio.get_running_loop().create_future()
        self._waiting.append((key, answer))
        if self._task is None:
            self._task = asyncio.create_task(self._answer_all())
        return await answer

    async def _answer_all(self) -> None:
        try:
            while self._waiting:
                waiting, self._waiting = self._waiting[:AT_ONCE], self._waiting[AT_ONCE:]
                await self._answer([one for one in waiting if not one[1].done()])
        finally:
            self._task = None

    async def _answer(self, waiting: Sequence[tuple[K, "asyncio.Future[V]"]]) -> None:
        try:
            values = await self._lookup([key for key, _ in waiting])
        except Exception as error:
            for _, answer in waiting:
                if not answer.done():
                    answer.set_exception(error)
            return
        for (_, answer), value in zip(waiting, values, strict=True):
            if not answer.done():  # its client may have gone away
                answer.set_result(value)
