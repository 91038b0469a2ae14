"""A forecast as a path: points in time, and lines between them.

Each point has a median and a range. Units are whole: the lower edge is rounded down, the upper edge up.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Final, Literal

Edge = Literal["low", "median", "high"]
SECOND: Final = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Point:
    """Expected consumption at an instant, in units.

    ``low`` and ``high`` are the edges of the range, which holds 80 of 100 values; ``None``: no range is known.
    """

    at: datetime
    median: int
    low: int | None = None
    high: int | None = None


Path = tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Limit:
    """Units that there are from an instant on, until the next limit."""

    since: datetime
    units: int


@dataclass(frozen=True, slots=True)
class _Step:
    at: datetime
    units: int


def first_crossing(path: Path, edge: Edge, limits: Sequence[Limit], since: datetime) -> datetime | None:
    """Return when an edge first reaches its limit, from ``since`` on.

    ``limits`` are in order of time, the first of them from ``since`` or earlier. ``None``: not as far as the path
    reaches, or it has no such edge.
    """
    steps = _steps(path, edge)
    for before, after in pairwise(steps):
        for place, limit in enumerate(limits):
            start = max(before.at, since, limit.since)
            end = after.at if place + 1 == len(limits) else min(after.at, limits[place + 1].since)
            if start > end:
                continue
            if (at := _reached(before, after, limit.units, start, end)) is not None:
                return at
    return None


def highest(path: Path, edge: Edge, until: datetime) -> int | None:
    """Return the highest value of an edge from the path's start to an instant.

    ``None``: the path has no such edge.
    """
    steps = _steps(path, edge)
    if not steps:
        return None
    last = bisect_left(steps, until, key=lambda step: step.at)
    values = [step.units for step in steps[: last + 1] if step.at <= until]
    if 0 < last < len(steps):
        values.append(-int(-_value(steps[last - 1], steps[last], until) // 1))
    return max(values, default=None)


def _steps(path: Path, edge: Edge) -> list[_Step]:
    found = [(point.at, getattr(point, edge)) for point in path]
    return [_Step(at, units) for at, units in found if units is not None]


def _reached(before: _Step, after: _Step, units: int, start: datetime, end: datetime) -> datetime | None:
    """Return when the line between two points reaches ``units``, from start to end."""
    first, last = _value(before, after, start), _value(before, after, end)
    if first >= units:
        return start
    if last < units:
        return None
    return start + SECOND * round((end - start) / SECOND * (units - first) / (last - first))


def _value(before: _Step, after: _Step, at: datetime) -> float:
    share = (at - before.at) / (after.at - before.at) if after.at > before.at else 0.0
    return before.units + (after.units - before.units) * share
