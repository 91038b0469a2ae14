"""Waiting on a machine that may be slow: as long as there is hope, and saying so now and then."""

import os
import sys
import time
from collections.abc import Callable
from typing import Final

VARIABLE: Final = "UNITPOOL_LOCAL_WAIT_SECONDS"
"""The longest wait for anything, in seconds. Not set: as long as what is waited for lives."""
SAY_SECONDS: Final = 20.0


def _to_standard_error(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


class Patience:
    """One wait for ``what``. ``limit_seconds`` is for a wait that is not worth more, whatever the environment says."""

    def __init__(
        self,
        what: str,
        say: Callable[[str], None] = _to_standard_error,
        *,
        limit_seconds: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._what = what
        self._say = say
        self._clock = clock
        self._limit = limit_seconds if limit_seconds is not None else _limit()
        self._began = self._said_at = clock()

    def is_over(self, because: str = "") -> bool:
        """Ask after each look in vain. ``because``: what it said last."""
        now = self._clock()
        if self._limit is not None and now - self._began > self._limit:
            return True
        if now - self._said_at > SAY_SECONDS:
            self._said_at = now
            self._say(
                f"still waiting for {self._what}, for {now - self._began:.0f} s{f': {because}' if because else ''}"
            )
        return False


def _limit() -> float | None:
    try:
        return float(os.environ.get(VARIABLE) or "") or None
    except ValueError:
        return None
