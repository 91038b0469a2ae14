"""Waits of the local stack.

They have no limit by default, and print lines of progress.
"""

import os
import sys
import time
from collections.abc import Callable
from typing import Final

VARIABLE: Final = "UNITPOOL_LOCAL_WAIT_SECONDS"
"""The variable with the longest wait, in seconds.

If it is unset or 0, a wait has no limit.
"""
SAY_SECONDS: Final = 20.0


def _to_standard_error(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


class Wait:
    """One wait for ``what``, from now on.

    ``limit_seconds`` replaces the limit of the environment.
    """

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
        """Whether the limit is exceeded; call it after each failed check.

        It prints a line of progress every 20 s, with ``because``, the last answer.
        """
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
