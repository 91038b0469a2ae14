"""The forecasts of a subscription: of its pool, and of each of its products."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from services.reporting.domain.insights.burn_down import forecast_burn_down
from services.reporting.domain.insights.levels import STEPS, forecast_levels
from services.reporting.domain.insights.outlooks import Outlook
from services.reporting.domain.insights.paths import Path
from services.reporting.domain.insights.series import History, MeasuredWindow, Series, pool_series, series_of
from shared.events.state import Lifecycle, ProductState, SubscriptionState
from shared.windows import Calendar, Window

METHOD: Final = 1
"""Version of the method; a change that yields other figures is a new version."""
BEYOND_TERM: Final = timedelta(weeks=4)
"""Time after the term's end to which a burn-down is continued.

It is continued as if the term went on, so a reader sees by how much a run-out has moved beyond the end.
"""
LONGEST: Final = timedelta(weeks=156)
FORECAST_STATES: Final[frozenset[Lifecycle]] = frozenset({"active", "exhausted"})
Basis = Literal["with_range", "without_range", "too_early"]


@dataclass(frozen=True, slots=True)
class ScopeForecast:
    """The forecast of one product, or of the pool (``product`` is ``None``).

    ``path``: expected consumption, empty if it is ``too_early`` to say. ``windows``: closed windows that it is made of.
    """

    product: str | None
    basis: Basis
    windows: int
    path: Path


@dataclass(frozen=True, slots=True)
class InputWindow:
    """A window that a forecast was made of, at the revision that was known."""

    product: str
    start: datetime
    revision: int
    level: int
    burned_down: int


def is_forecast(subscription: SubscriptionState, now: datetime) -> bool:
    """Whether a subscription is forecast: a pool that is used, within its term."""
    term = subscription.term_at(now)
    is_used = subscription.model == "flex" and subscription.state in FORECAST_STATES
    return is_used and term.start <= now < term.end


def forecasts_of(
    subscription: SubscriptionState,
    catalogue: Mapping[str, ProductState],
    rows: Sequence[MeasuredWindow],
    now: datetime,
) -> Iterator[ScopeForecast]:
    """Yield the forecast of each product in use, then that of the pool.

    Each takes about a millisecond, so a caller may do other work in between. ``rows``: the windows of the last 12
    months. There are none of a subscription that is not used now.
    """
    if not is_forecast(subscription, now):
        return
    history = History.of(subscription, now)
    until = min(subscription.term_at(now).end + BEYOND_TERM, now + LONGEST)
    by_product: dict[str, dict[datetime, MeasuredWindow]] = {}
    for row in rows:
        by_product.setdefault(row.product, {})[row.start] = row
    every: list[Series] = []
    for product in subscription.active_products:
        series = series_of(history, product, catalogue.get(product.product), by_product.get(product.product, {}))
        every.append(series)
        yield _forecast(product.product, series, history, subscription.calendar, until)
    yield _forecast(None, pool_series(every), history, subscription.calendar, until)


def _forecast(
    product: str | None, series: Series, history: History, calendar: Calendar, until: datetime
) -> ScopeForecast:
    count = len(series.levels)
    levels = forecast_levels(series.levels) if "window" in series.resets else None
    burn_down = forecast_burn_down(series.additions) if "term" in series.resets else None
    is_missing = ("window" in series.resets and levels is None) or ("term" in series.resets and burn_down is None)
    if is_missing or not series.resets:
        return ScopeForecast(product, "too_early", count, ())
    ends = _ends(calendar, history.open)
    path = Outlook(series, levels, burn_down, history.now, history.open.start, ends).path(until)
    return ScopeForecast(product, "without_range" if path[0].high is None else "with_range", count, path)


def _ends(calendar: Calendar, window: Window) -> list[datetime]:
    """Return the ends of the open window and of those after it."""
    ends = []
    for _ in range(STEPS):
        ends.append(window.end)
        window = calendar.window_at(window.end)
    return ends
