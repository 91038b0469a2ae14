"""Open loop: steps start when they are due, so that queueing counts.

They do not wait for earlier ones.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

PORTION_SECONDS = 0.02
WARM_SECONDS = 2.0
"""Seconds of warm-up, whose steps do not count.

Connections, caches and prepared statements are created in it.
"""
WARM_BROKER_SECONDS = 20.0
"""Seconds of warm-up with a broker.

The broker's virtual machine compiles its code on the same cores.
"""


@dataclass(frozen=True, slots=True)
class Pace:
    """A rate per second, for a time after the warm-up."""

    rate: float
    seconds: float
    warm_seconds: float = WARM_SECONDS

    @property
    def count(self) -> int:
        """Return the number of steps, with those of the warm-up."""
        return int(self.rate * (self.warm_seconds + self.seconds))

    def counts(self, number: int) -> bool:
        """Return whether the step is after the warm-up."""
        return number >= self.rate * self.warm_seconds

    async def steps(self) -> AsyncIterator[tuple[int, float]]:
        """Yield each number with its due time, when it is due or as soon as possible.

        Times are of ``time.perf_counter``.
        """
        started = time.perf_counter()
        for number in range(self.count):
            due = started + number / self.rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            yield number, due

    async def portions(self) -> AsyncIterator[tuple[range, float]]:
        """Yield the numbers that have become due, 50 times a second.

        With the time when number 0 was due.
        """
        started, begin = time.perf_counter(), 0
        while begin < self.count:
            end = min(self.count, int((time.perf_counter() - started) * self.rate) + 1)
            yield range(begin, end), started
            begin = end
            await asyncio.sleep(max(0.0, started + begin / self.rate + PORTION_SECONDS - time.perf_counter()))
