"""The outlook of a scope: its level and its burn-down, added up to a path."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from services.reporting.domain.insights.burn_down import WEEK, BurnDownForecast
from services.reporting.domain.insights.levels import LevelForecast
from services.reporting.domain.insights.paths import Path, Point
from services.reporting.domain.insights.series import Series
from shared.units import MAX_UNITS


class _Value(NamedTuple):
    """A value, and half the width of its range (``None``: unknown)."""

    value: float
    margin: float | None


_NOTHING = _Value(0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Outlook:
    """A series with the forecasts of its level and of its burn-down, at ``now``.

    It has at least one of them. ``window_start``: of the open window; ``ends``: of the open window and of those after
    it, as many as a level forecast has steps.
    """

    series: Series
    levels: LevelForecast | None
    burn_down: BurnDownForecast | None
    now: datetime
    window_start: datetime
    ends: Sequence[datetime]

    def path(self, until: datetime) -> Path:
        """Return the expected consumption at now, at the windows' ends, and weekly.

        With a level the path ends with the last window ahead, else at ``until``.
        """
        points: list[Point] = []
        lowest = self.series.burned_now
        for at in self._times(until):
            level, burned = self._level(at), self._burned(at)
            median = _whole(level.value + burned.value)
            if level.margin is None or burned.margin is None:
                points.append(Point(at, median))
                continue
            lowest = max(lowest, math.floor(burned.value - burned.margin))  # what has burned down stays so
            low = lowest + math.floor(max(level.value - level.margin, self._certain_level(at)))
            high = math.ceil(level.value + level.margin + burned.value + burned.margin)
            points.append(Point(at, median, min(low, median), max(median, _whole(high))))
        return tuple(points)

    def _times(self, until: datetime) -> Iterator[datetime]:
        times = {self.now, *self.ends}
        if self.burn_down is not None:
            last = self.ends[-1] if self.levels else max(until, self.ends[-1])
            times |= {self.now + WEEK * week for week in range((last - self.now) // WEEK + 1)} | {last}
        yield from sorted(times)

    def _burned(self, at: datetime) -> _Value:
        if self.burn_down is None:
            return _Value(self.series.burned_now, 0.0)
        after = at - self.now
        return _Value(self.series.burned_now + self.burn_down.added(after), self.burn_down.margin(after))

    def _level(self, at: datetime) -> _Value:
        """Return the level on the line from the base, at the last window's end, on.

        In the open window it is at least what it is now.
        """
        if self.levels is None:
            return _NOTHING
        margins = self.levels.margins or (None,) * len(self.ends)
        start, before = self.window_start, _Value(self.levels.base, 0.0 if self.levels.margins else None)
        for end, value, margin in zip(self.ends, self.levels.steps, margins, strict=True):
            after = _Value(value, margin)
            if at <= end:
                found = _between(before, after, (at - start) / (end - start))
                return _Value(max(found.value, self._certain_level(at)), found.margin)
            start, before = end, after
        return before

    def _certain_level(self, at: datetime) -> int:
        return self.series.level_now if at <= self.ends[0] else 0


def _between(before: _Value, after: _Value, share: float) -> _Value:
    value = before.value + (after.value - before.value) * share
    if before.margin is None or after.margin is None:
        return _Value(value, None)
    return _Value(value, before.margin + (after.margin - before.margin) * share)


def _whole(units: float) -> int:
    return min(MAX_UNITS, max(0, round(units)))
