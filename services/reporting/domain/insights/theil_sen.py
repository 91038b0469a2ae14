"""The Theil-Sen line: a straight line that few odd values cannot move.

Its slope is the median of the slopes between all pairs of points. Its intercept is the median of what the values
exceed the slope by, so that as many points lie above the line as below it.

Sources: H. Theil, "A rank-invariant method of linear and polynomial regression analysis", 1950; P. K. Sen, "Estimates
of the regression coefficient based on Kendall's tau", JASA 63 (1968). SciPy calls this intercept "joint".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Line:
    """A line: ``intercept`` at place 0, and ``slope`` more at each place after it."""

    slope: float
    intercept: float

    def at(self, place: float) -> float:
        """Return the line's value at a place."""
        return self.intercept + self.slope * place


def theil_sen(values: Sequence[float]) -> Line:
    """Fit a line to at least two values, which are at the places 0, 1, 2, ...

    Every pair is compared: 325 pairs for the longest series that is used, of 26 weeks.
    """
    count = len(values)
    slope = median(
        [
            (values[later] - values[first]) / (later - first)
            for first in range(count)
            for later in range(first + 1, count)
        ]
    )
    return Line(slope, median([value - slope * place for place, value in enumerate(values)]))
