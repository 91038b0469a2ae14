"""The forecast of a burn-down: what the meters that add up over a term will add.

A Theil-Sen line through the sums of the last 26 weeks, added up from now on. A week never adds less than nothing.

The range is that of a sum under a straight line whose noise is that of the spans which were measured: the sum's own
noise, and what is not known of the line. It is to hold the sum in 80 of 100 cases. Source of the formula: any textbook
of linear regression, "prediction interval", for a sum instead of a value.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from services.reporting.domain.insights.theil_sen import Line, theil_sen

WEEK: Final = timedelta(days=7)
WEEKS: Final = 26
"""Most weeks to which the line is fitted."""
MIN_WEEKS: Final = 4
MIN_SPANS_OF_RANGE: Final = 8
"""Fewest measured spans, and fewest weeks, of a range."""
DEVIATIONS: Final = 1.2816
"""Standard deviations on each side of the median that hold 80 of 100 values.

That is so of a normal distribution.
"""


@dataclass(frozen=True, slots=True)
class Addition:
    """Units that were added from ``start`` to ``end``, evenly, as far as is known.

    It may be a window, a day or an hour: the forecast takes spans of any length.
    """

    start: datetime
    end: datetime
    units: int

    @property
    def weeks(self) -> float:
        """Its length."""
        return (self.end - self.start) / WEEK


@dataclass(frozen=True, slots=True)
class BurnDownForecast:
    """The weekly sums as a ``line`` over places from 0 to ``weeks``, which is now.

    ``noise``: standard deviation of the sum of one week; ``None`` with too few measured spans.
    """

    line: Line
    weeks: int
    noise: float | None

    def added(self, after: timedelta) -> float:
        """Return the units that are added from now until ``after`` from now."""
        return self.between(self.weeks, self.weeks + after / WEEK)

    def margin(self, after: timedelta) -> float | None:
        """Return half the width of the range of ``added``."""
        if self.noise is None:
            return None
        ahead, known = after / WEEK, float(self.weeks)
        of_sum = ahead
        of_level = ahead**2 / known
        of_slope = (ahead * (ahead + known) / 2) ** 2 * 12 / known**3
        return DEVIATIONS * self.noise * math.sqrt(of_sum + of_level + of_slope)

    def between(self, first: float, last: float) -> float:
        """Return the sum from one place to another, without weeks below zero.

        The sum of the week that begins at a place is the line's value there, so within weeks the rate is half a week's
        slope lower.
        """
        slope, rate = self.line.slope, self.line.intercept - self.line.slope / 2
        if slope:
            zero = -rate / slope
            first, last = (first, min(last, zero)) if slope < 0 else (max(first, zero), last)
        if last <= first:
            return 0.0
        return rate * (last - first) + slope * (last**2 - first**2) / 2


def forecast_burn_down(additions: Sequence[Addition]) -> BurnDownForecast | None:
    """Forecast from additions that follow each other, the oldest first.

    The last one ends now. ``None``: they are of fewer than 4 weeks, too few to say.
    """
    sums = weekly_sums(additions)
    if len(sums) < MIN_WEEKS:
        return None
    line = theil_sen(sums)
    first = additions[-1].end - WEEK * len(sums)
    fitted = [one for one in additions if one.start >= first - WEEK]
    forecast = BurnDownForecast(line, len(sums), None)
    if min(len(fitted), len(sums)) < MIN_SPANS_OF_RANGE:
        return forecast
    return BurnDownForecast(line, len(sums), _noise(forecast, fitted, first))


def weekly_sums(additions: Sequence[Addition]) -> list[float]:
    """Return the sums of the last whole weeks, at most 26, the oldest first.

    The last week ends with the last addition. A span that lies in several weeks counts in each by its share.
    """
    if not additions:
        return []
    end = additions[-1].end
    count = min(WEEKS, (end - additions[0].start) // WEEK)
    sums = [0.0] * count
    for one in additions:
        for week in range(max(0, count + (one.start - end) // WEEK), min(count, count - (end - one.end) // WEEK)):
            begins = end - WEEK * (count - week)
            shared = min(one.end, begins + WEEK) - max(one.start, begins)
            if shared > timedelta(0):
                sums[week] += one.units * (shared / (one.end - one.start))
    return sums


def _noise(forecast: BurnDownForecast, additions: Sequence[Addition], first: datetime) -> float:
    """Return the standard deviation of one week's sum around the line.

    It is taken from the measured spans, not from the weeks: weeks that share a span differ less than weeks do. Two
    degrees of freedom are spent on the line.
    """
    squares = 0.0
    for one in additions:
        place = (one.start - first) / WEEK
        squares += (one.units - forecast.between(place, place + one.weeks)) ** 2 / one.weeks
    return math.sqrt(squares / (len(additions) - 2))
