"""Repeated log lines, written a few times and then counted.

So an outage does not fill the log.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

WINDOW_SECONDS = 60.0
LIBRARY_LINES, OWN_LINES = 3, 20
"""Most times that the same line is written within a window.

The first is for a line of a library, the second for an event of ours.
"""
MAX_KEYS = 1000


@dataclass(slots=True)
class _Window:
    begun: float
    written: int = 0
    held_back: int = 0


class Repeats(logging.Filter):
    """Filter of repeated warnings and errors.

    Lines repeat if logger and event are the same, whatever their values. ``report`` is called with logger, event and
    number of the lines that were left out, at the end of each window.
    """

    def __init__(self, report: Callable[[str, str, int], None], clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._report = report
        self._clock = clock
        self._windows: dict[tuple[str, str], _Window] = {}
        self._next_check_at = clock() + WINDOW_SECONDS

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to write a library's line."""
        return self.may_write(record.name, str(record.msg), record.levelno, is_ours=False)

    def may_write(self, logger: str, event: str, level: int, *, is_ours: bool) -> bool:
        """Count a line; return whether to write it.

        Lines below the level of a warning are always written.
        """
        now = self._clock()
        if now >= self._next_check_at:
            self._end_windows(now)
        if level < logging.WARNING:
            return True
        key = logger, event
        window = self._windows.setdefault(key, _Window(now))
        if window.written < (OWN_LINES if is_ours else LIBRARY_LINES):
            window.written += 1
            return True
        window.held_back += 1
        return False

    def _end_windows(self, now: float) -> None:
        self._next_check_at = now + WINDOW_SECONDS / 10
        over = [(key, one) for key, one in self._windows.items() if now - one.begun >= WINDOW_SECONDS]
        for key, one in over:
            if one.held_back:  # it still repeats: the next window writes only the count
                self._windows[key] = _Window(now, written=one.written)
            else:
                del self._windows[key]
        while len(self._windows) > MAX_KEYS:
            del self._windows[next(iter(self._windows))]
        for (name, event), one in over:
            if one.held_back:
                self._report(name, event, one.held_back)
