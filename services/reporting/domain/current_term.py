"""The term and window of a subscription at an instant, and windows' consumption."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from services.reporting.domain.utilisation_classes import CLOSED_WINDOWS
from shared.events.metering import MeterConsumption
from shared.events.state import SubscriptionState, Term
from shared.windows import Window


@dataclass(frozen=True, slots=True)
class WindowFigures:
    """The consumption of one product in one window.

    ``meters`` are required of the newest window only.
    """

    window_start: datetime
    revision: int
    level: int
    burned_down: int
    as_of: datetime
    meters: tuple[MeterConsumption, ...] = ()


@dataclass(frozen=True, slots=True)
class PlacedWindow:
    """A window, and the start of the term that it belongs to."""

    start: datetime
    end: datetime
    term_start: datetime

    @classmethod
    def of(cls, subscription: SubscriptionState, window: Window) -> Self:
        """Place a window of the subscription's calendar."""
        return cls(window.start, window.end, subscription.term_at(window.start).start)

    def burned_before(self, windows: Iterable[WindowFigures]) -> int:
        """Return the units that burned down in the term before this window."""
        since, start = self.term_start, self.start
        return max([one.burned_down for one in windows if since <= one.window_start < start], default=0)


@dataclass(frozen=True, slots=True)
class CurrentTerm:
    """A subscription's term and window at an instant, and the last closed windows.

    They are the same for all products, so they are computed once. The newest closed window is first.
    """

    subscription: SubscriptionState
    term: Term
    window: PlacedWindow
    closed: tuple[PlacedWindow, ...]

    @classmethod
    def of(cls, subscription: SubscriptionState, now: datetime) -> Self:
        """Find the term and window that contain ``now``."""
        window = current_window(subscription, now)
        closed = [PlacedWindow.of(subscription, one) for one in _before(subscription, window)]
        return cls(subscription, subscription.term_at(now), PlacedWindow.of(subscription, window), tuple(closed))


def current_window(subscription: SubscriptionState, now: datetime) -> Window:
    """Return the window that contains ``now``; before the term begins, its first."""
    return subscription.calendar.window_at(max(now, subscription.all_terms[0].start))


def snapshots_from(subscription: SubscriptionState, window: Window) -> datetime:
    """Return the start of the oldest window that the overview reads.

    It is in the term, or one of the last closed windows before it.
    """
    *_, first = _before(subscription, window)
    return min(subscription.term_at(window.start).start, first.start)


def _before(subscription: SubscriptionState, window: Window) -> Iterator[Window]:
    """Yield the closed windows that the overview reads, newest first."""
    calendar = subscription.calendar
    for _ in range(CLOSED_WINDOWS):
        window = calendar.before(window)
        yield window
