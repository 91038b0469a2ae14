"""Open loop: things begin when they are due, however long earlier ones take, so that waiting in a queue counts."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

PORTION_SECONDS = 0.02
WARM_SECONDS = 2.0
"""What is due in the first seconds is done, but not counted: connections, caches and prepared statements are made."""
WARM_BROKER_SECONDS = 20.0
"""As long as that takes where the broker is there too: its virtual machine compiles what it does, on our cores."""


@dataclass(frozen=True, slots=True)
class Pace:
    """So many a second, for so long after the warm-up."""

    rate: float
    seconds: float
    warm_seconds: float = WARM_SECONDS

    @property
    def count(self) -> int:
        """How many there are, the warm-up included."""
        return int(self.rate * (self.warm_seconds + self.seconds))

    def counts(self, number: int) -> bool:
        """Whether this one is after the warm-up."""
        return number >= self.rate * self.warm_seconds

    async def steps(self) -> AsyncIterator[tuple[int, float]]:
        """Each number when it is due, or as soon after as can be, with when it was due (``time.perf_counter``)."""
        started = time.perf_counter()
        for number in range(self.count):
            due = started + number / self.rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            yield number, due

    async def portions(self) -> AsyncIterator[tuple[range, float]]:
        """The numbers that have become due since the last portion, and when number 0 was due; 50 times a second."""
        started, begin = time.perf_counter(), 0
        while begin < self.count:
            end = min(self.count, int((time.perf_counter() - started) * self.rate) + 1)
            yield range(begin, end), started
            begin = end
            await asyncio.sleep(max(0.0, started + begin / self.rate + PORTION_SECONDS - time.perf_counter()))
