"""The forecast of a level: what is consumed in each of the next windows.

A damped line: the level of now, and the Theil-Sen slope of the last 8 closed windows, of which each further window gets
0.9 of what the one before it got. The level of now is the median of the last 3 closed windows. A level is never
negative.

The range is made of the series' own earlier errors: at each earlier window the forecast is repeated that would have
been made there, and compared with what then happened. It is to hold the value in 80 of 100 cases.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from services.reporting.domain.insights.theil_sen import theil_sen

DAMPING: Final = 0.9
TREND_WINDOWS: Final = 8
"""Most closed windows from which the slope is taken."""
LEVEL_WINDOWS: Final = 3
STEPS: Final = 6
"""Number of windows ahead."""
MIN_WINDOWS: Final = 4
"""Fewest closed windows of a forecast."""
MIN_WINDOWS_OF_RANGE: Final = 8
COVERAGE: Final = 0.8
"""Share of the values that the range is to hold."""


@dataclass(frozen=True, slots=True)
class LevelForecast:
    """The level now (``base``), and in each of the next windows.

    ``margins``: half the width of the range, by window; ``None`` with too few closed windows.
    """

    base: float
    steps: tuple[float, ...]
    margins: tuple[float, ...] | None


def forecast_levels(levels: Sequence[float]) -> LevelForecast | None:
    """Forecast from the levels of all closed windows, the oldest first.

    ``None``: there are too few to say.
    """
    if len(levels) < MIN_WINDOWS:
        return None
    margins = _margins(levels) if len(levels) >= MIN_WINDOWS_OF_RANGE else None
    return LevelForecast(_base(levels), _steps(levels), margins)


def _base(levels: Sequence[float]) -> float:
    return median(levels[-LEVEL_WINDOWS:])


def _steps(levels: Sequence[float]) -> tuple[float, ...]:
    base, slope = _base(levels), theil_sen(levels[-TREND_WINDOWS:]).slope
    gains = [slope * DAMPING**step for step in range(1, STEPS + 1)]
    return tuple(max(0.0, base + sum(gains[: step + 1])) for step in range(STEPS))


def _margins(levels: Sequence[float]) -> tuple[float, ...]:
    """Return half the width of the range by step.

    A step has the errors of the steps beside it too, since its own are few; and no step is narrower than the one before
    it, since nothing becomes more certain with distance.
    """
    errors = _errors(levels)
    margins: list[float] = []
    for step in range(STEPS):
        near = [error for some in errors[max(0, step - 1) : step + 2] for error in some]
        margins.append(max([*margins[-1:], _quantile(near)]))
    return tuple(margins)


def _errors(levels: Sequence[float]) -> list[list[float]]:
    """Return the sizes of the errors of all earlier forecasts, by step."""
    errors: list[list[float]] = [[] for _ in range(STEPS)]
    for origin in range(MIN_WINDOWS, len(levels)):
        for error, expected, value in zip(errors, _steps(levels[:origin]), levels[origin:], strict=False):
            error.append(abs(value - expected))
    return errors


def _quantile(errors: Sequence[float]) -> float:
    """Return the size that a new error exceeds in at most 20 of 100 cases.

    Of n errors it is the one of rank ``ceil((n + 1) x 0.8)``: a new error is equally likely to fall between any two of
    them. Source: V. Vovk et al., "Algorithmic Learning in a Random World" (split conformal prediction), 2005.
    """
    rank = math.ceil((len(errors) + 1) * COVERAGE)
    return sorted(errors)[min(rank, len(errors)) - 1] if errors else 0.0
