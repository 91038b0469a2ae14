"""Measurement windows: consecutive spans of time, in UTC.

They are counted from the start of a subscription's term. Each has the same number of whole days, but the last one of a
term ends where the next term begins.
"""

from bisect import bisect_right
from dataclasses import dataclass
from datetime import datetime, timedelta

DEFAULT_WINDOW_DAYS = 15
PROVISIONAL_FOR = timedelta(days=3)
"""Time after its end for which a window takes usage without a restatement."""


@dataclass(frozen=True, slots=True)
class Window:
    """One window: ``start`` inclusive, ``end`` exclusive, both UTC."""

    start: datetime
    end: datetime

    def is_provisional(self, now: datetime) -> bool:
        """Whether usage for this window still changes it without a restatement."""
        return now < self.end + PROVISIONAL_FOR


def window_at(anchor: datetime, at: datetime, days: int = DEFAULT_WINDOW_DAYS) -> Window:
    """Return the window of ``days`` days that holds the instant ``at``.

    Windows are counted from ``anchor``, and before it too.
    """
    length = timedelta(days=days)
    start = anchor + ((at - anchor) // length) * length
    return Window(start, start + length)


@dataclass(frozen=True, slots=True)
class Calendar:
    """The windows of a subscription, counted from each term's start.

    The last window of a term ends where the next term begins, so no window belongs to two terms. ``starts``: the terms'
    starts in order, at least one. Before the first and after the last term the windows continue in the same rhythm.
    """

    starts: tuple[datetime, ...]
    days: int = DEFAULT_WINDOW_DAYS

    def window_at(self, at: datetime) -> Window:
        """The window that holds the instant ``at``."""
        place = bisect_right(self.starts, at)
        window = window_at(self.starts[max(place - 1, 0)], at, self.days)
        following = self.starts[place] if place < len(self.starts) else None
        if following is not None and window.end > following:
            return Window(window.start, following)
        return window

    def before(self, window: Window) -> Window:
        """The window that ends where this one begins."""
        return self.window_at(window.start - timedelta(microseconds=1))


def days_left(end: datetime, now: datetime) -> int:
    """Whole days until ``end``, a day begun counted as one; 0 when it is past."""
    return max(0, -((now - end) // timedelta(days=1)))
