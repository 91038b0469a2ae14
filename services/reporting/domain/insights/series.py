"""The series that forecasts are made of: closed windows, as plain values.

- Windows are those of the subscription's calendar, of at most 12 months, in order of time, also across terms. One that
  a renewal cut short is no level to compare with others, so it is left out of the levels.
- A product counts from the first window that began after it was subscribed to. A window without a measurement had no
  usage.
- What burned down in a window is the difference of the running totals of its term. The window that is open adds what
  it has so far.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from services.reporting.domain.current_term import current_window
from services.reporting.domain.insights.burn_down import Addition
from shared.events.state import ProductState, Reset, SubscribedProduct, SubscriptionState
from shared.windows import Window

HISTORY: Final = timedelta(days=366)
SHORTEST_ADDITION: Final = timedelta(days=1)
"""Shortest part of the open window that counts as an addition."""


@dataclass(frozen=True, slots=True)
class MeasuredWindow:
    """What one product consumed in one window: its level, and the term to date."""

    product: str
    start: datetime
    end: datetime
    revision: int
    level: int
    burned_down: int
    as_of: datetime

    @property
    def consumed(self) -> int:
        """The level and the term to date."""
        return self.level + self.burned_down


@dataclass(frozen=True, slots=True)
class History:
    """A subscription's windows until now: the closed ones in order, and the open one."""

    closed: tuple[Window, ...]
    open: Window
    now: datetime
    window_days: int
    term_starts: tuple[datetime, ...]

    @classmethod
    def of(cls, subscription: SubscriptionState, now: datetime) -> "History":
        """Find the windows of a subscription."""
        calendar, present = subscription.calendar, current_window(subscription, now)
        since = max(subscription.all_terms[0].start, now - HISTORY)
        closed: list[Window] = []
        window = present
        while window.start > since:
            window = calendar.before(window)
            closed.append(window)
        starts = tuple(term.start for term in subscription.all_terms)
        return cls(tuple(reversed(closed)), present, now, subscription.window_days, starts)

    def is_whole(self, window: Window) -> bool:
        """Whether the window was not cut short by the next term."""
        return window.end - window.start >= timedelta(days=self.window_days)

    def begins_term(self, window: Window) -> bool:
        """Whether a term begins with the window, so that running totals start anew."""
        return window.start in self.term_starts


@dataclass(frozen=True, slots=True)
class Series:
    """The consumption of one product or of a pool.

    ``levels`` are of the closed windows, the oldest first. ``level_now`` is of the open window, ``burned_now`` the term
    to date. ``resets``: the kinds of its meters.
    """

    levels: tuple[int, ...]
    additions: tuple[Addition, ...]
    level_now: int
    burned_now: int
    resets: frozenset[Reset]


def series_of(
    history: History, product: SubscribedProduct, known: ProductState | None, rows: Mapping[datetime, MeasuredWindow]
) -> Series:
    """Build the series of a product.

    ``known``: its catalogue entry; ``rows``: its measured windows by start.
    """
    levels: list[int] = []
    additions: list[Addition] = []
    total: int | None = None
    for window in (*history.closed, history.open):
        row = rows.get(window.start)
        before = 0 if history.begins_term(window) else total
        total = row.burned_down if row else before
        start, end = max(window.start, product.subscribed_at), min(window.end, history.now)
        if before is not None and total is not None and end - start >= SHORTEST_ADDITION:
            additions.append(Addition(start, end, max(0, total - before)))
        if product.subscribed_at <= window.start < history.open.start and history.is_whole(window):
            levels.append(row.level if row else 0)
    here = rows.get(history.open.start)
    level_now, burned_now = here.level if here else 0, total or 0
    resets = _resets(known, has_level=any((*levels, level_now)), has_burned=burned_now > 0)
    return Series(tuple(levels), tuple(additions), level_now, burned_now, resets)


def _resets(known: ProductState | None, *, has_level: bool, has_burned: bool) -> frozenset[Reset]:
    """Return the kinds of a product's meters, also of those that the catalogue lacks."""
    resets: set[Reset] = {meter.reset for meter in known.meters} if known else set()
    if has_burned:
        resets.add("term")
    if has_level or not resets:
        resets.add("window")
    return frozenset(resets)


def pool_series(several: Sequence[Series]) -> Series:
    """Add the series of all products.

    A product that joined later had nothing before.
    """
    count = max((len(one.levels) for one in several), default=0)
    levels = [0] * count
    for one in several:
        for place, level in enumerate(one.levels, count - len(one.levels)):
            levels[place] += level
    return Series(
        tuple(levels),
        _added(addition for one in several if "term" in one.resets for addition in one.additions),
        sum(one.level_now for one in several),
        sum(one.burned_now for one in several),
        frozenset(reset for one in several for reset in one.resets),
    )


def _added(additions: Iterable[Addition]) -> tuple[Addition, ...]:
    """Add what ended at the same time; it began at the earliest of the starts."""
    by_end: dict[datetime, Addition] = {}
    for one in additions:
        other = by_end.get(one.end)
        by_end[one.end] = (
            Addition(min(one.start, other.start), one.end, one.units + other.units) if other is not None else one
        )
    return tuple(by_end[end] for end in sorted(by_end))
