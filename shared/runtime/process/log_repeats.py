"""Log lines that come again and again are written a few times, then summed up: a server that is away is one fact."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

WINDOW_SECONDS = 60.0
THEIRS, OURS = 3, 20
"""How often one line of a library, and one event of ours, is written within a window."""
MAX_KEYS = 1000


@dataclass(slots=True)
class _Window:
    begun: float
    written: int = 0
    held_back: int = 0


class Repeats(logging.Filter):
    """Holds back warnings and errors that were written often enough, whatever their figures; ``say`` tells how many."""

    def __init__(self, say: Callable[[str, str, int], None], clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._say = say
        self._clock = clock
        self._windows: dict[tuple[str, str], _Window] = {}
        self._look_at = clock() + WINDOW_SECONDS

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to write a library's line."""
        return self.may_write(record.name, str(record.msg), record.levelno, is_ours=False)

    def may_write(self, logger: str, event: str, level: int, *, is_ours: bool) -> bool:
        """Whether to write a line, which counts it."""
        now = self._clock()
        if now >= self._look_at:
            self._end_windows(now)
        if level < logging.WARNING:
            return True
        key = logger, event
        window = self._windows.setdefault(key, _Window(now))
        if window.written < (OURS if is_ours else THEIRS):
            window.written += 1
            return True
        window.held_back += 1
        return False

    def _end_windows(self, now: float) -> None:
        self._look_at = now + WINDOW_SECONDS / 10
        over = [(key, one) for key, one in self._windows.items() if now - one.begun >= WINDOW_SECONDS]
        for key, one in over:
            if one.held_back:  # it goes on: the next window writes only the sum
                self._windows[key] = _Window(now, written=one.written)
            else:
                del self._windows[key]
        while len(self._windows) > MAX_KEYS:
            del self._windows[next(iter(self._windows))]
        for (name, event), one in over:
            if one.held_back:
                self._say(name, event, one.held_back)
