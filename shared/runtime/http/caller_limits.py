"""Limits per caller: concurrent slots and requests per minute.

They are counted per process.
"""

import math
import time
from collections import Counter, OrderedDict
from collections.abc import Callable

from shared.events.refusals import Refusal
from shared.runtime.http.problems import ProblemError

MAX_KEYS = 10_000


def too_many(message: str, seconds: int) -> ProblemError:
    """Make a 429 refusal with ``Retry-After`` of this many seconds."""
    refusal = Refusal(code="too_many_requests", message=message)
    return ProblemError(refusal, headers={"Retry-After": str(seconds)})


class Shares:
    """Concurrent slots: at most ``most`` in total, and ``most_each`` for each key."""

    def __init__(self, most: int, most_each: int) -> None:
        self._most = most
        self._most_each = most_each
        self._taken: Counter[str] = Counter()
        self._all = 0

    def take(self, key: str, message: str) -> Callable[[], None]:
        """Take a slot; returns the function that releases it.

        Raises:
            ProblemError: ``too_many_requests``, with ``message``.
        """
        if self._all >= self._most or self._taken[key] >= self._most_each:
            raise too_many(message, 10)
        self._all += 1
        self._taken[key] += 1
        is_taken = True

        def release() -> None:
            nonlocal is_taken
            if is_taken:
                is_taken = False
                self._all -= 1
                self._taken[key] -= 1
                if not self._taken[key]:
                    del self._taken[key]

        return release


class RateLimit:
    """A token bucket for each key: ``per_minute`` tokens, refilled in a minute.

    0: no limit. Beyond ``MAX_KEYS`` the key unused for longest is dropped, as its bucket is the most likely to be full.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_minute = per_minute
        self._clock = clock
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def check(self, key: str, message: str) -> None:
        """Check that the key's bucket has a token, without taking it.

        Raises:
            ProblemError: ``too_many_requests`` with ``message``: the bucket is empty.
        """
        level = self._level(key)
        if self._per_minute and level < 1:
            raise too_many(message, max(1, math.ceil((1 - level) * 60 / self._per_minute)))

    def spend(self, key: str) -> None:
        """Take one token, whether there is one or not."""
        if self._per_minute:
            self._levels[key] = self._level(key) - 1, self._clock()
            self._levels.move_to_end(key)
            if len(self._levels) > MAX_KEYS:
                self._levels.popitem(last=False)

    def _level(self, key: str) -> float:
        level, at = self._levels.get(key, (float(self._per_minute), self._clock()))
        return min(float(self._per_minute), level + (self._clock() - at) * self._per_minute / 60)
