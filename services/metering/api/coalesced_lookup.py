"""Look-ups of many requests, made together."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")
AT_ONCE = 500


class Gathering(Generic[K, V]):
    """While one look is under way, those who ask meanwhile wait for the next, which answers all of them.

    A look begins after everything that it answers was asked, so no answer is older than its question. One at a time:
    the more there is to ask, the more each answers. ``look`` gives a value for each key, in their order; what it
    raises, all of its askers get.
    """

    def __init__(self, look: Callable[[Sequence[K]], Awaitable[Sequence[V]]]) -> None:
        self._look = look
        self._asked: list[tuple[K, asyncio.Future[V]]] = []
        self._looking: asyncio.Task[None] | None = None

    async def ask(self, key: K) -> V:
        """The value of ``key``, as of now or later."""
        answer: asyncio.Future[V] = asyncio.get_running_loop().create_future()
        self._asked.append((key, answer))
        if self._looking is None:
            self._looking = asyncio.create_task(self._look_until_all_are_answered())
        return await answer

    async def _look_until_all_are_answered(self) -> None:
        try:
            while self._asked:
                asked, self._asked = self._asked[:AT_ONCE], self._asked[AT_ONCE:]
                await self._answer([one for one in asked if not one[1].done()])
        finally:
            self._looking = None

    async def _answer(self, asked: Sequence[tuple[K, "asyncio.Future[V]"]]) -> None:
        try:
            values = await self._look([key for key, _ in asked])
        except Exception as error:
            for _, answer in asked:
                if not answer.done():
                    answer.set_exception(error)
            return
        for (_, answer), value in zip(asked, values, strict=True):
            if not answer.done():  # its client may have gone away
                answer.set_result(value)
