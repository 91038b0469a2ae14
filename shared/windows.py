"""Measurement windows: consecutive spans of whole days, anchored on a subscription's start, in UTC."""

from dataclasses import dataclass
from datetime import datetime, timedelta

DEFAULT_WINDOW_DAYS = 15
PROVISIONAL_FOR = timedelta(days=3)
"""How long after its end a window still takes usage without being called restated."""


@dataclass(frozen=True, slots=True)
class Window:
    """One window: ``start`` inclusive, ``end`` exclusive, both UTC."""

    start: datetime
    end: datetime

    def is_provisional(self, now: datetime) -> bool:
        """Whether usage for this window may still arrive as a matter of course."""
        return now < self.end + PROVISIONAL_FOR

    def previous(self) -> "Window":
        """The window just before this one."""
        return Window(self.start - (self.end - self.start), self.start)


def window_at(anchor: datetime, at: datetime, days: int = DEFAULT_WINDOW_DAYS) -> Window:
    """The window of ``days`` days, counted from ``anchor``, that holds the instant ``at`` (before the anchor too)."""
    length = timedelta(days=days)
    start = anchor + ((at - anchor) // length) * length
    return Window(start, start + length)


def days_left(end: datetime, now: datetime) -> int:
    """Whole days until ``end``, a day begun counted as one; 0 when it is past."""
    return max(0, -((now - end) // timedelta(days=1)))
