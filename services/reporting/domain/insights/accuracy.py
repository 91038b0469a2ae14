"""How good earlier forecasts were: what they expected against what then happened."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from services.reporting.domain.insights.forecasts import ScopeForecast
from shared.units import percent_tenths


@dataclass(frozen=True, slots=True)
class EarlierForecast:
    """A forecast that was made in an earlier window, and when."""

    made_at: datetime
    scopes: tuple[ScopeForecast, ...]


@dataclass(frozen=True, slots=True)
class Accuracy:
    """The errors of a scope's earlier forecasts, over ``compared`` values.

    A value is the consumption at the end of a window that has closed since. ``mean_error`` is the mean size of an error
    in units, ``mean_error_percent`` the same of what happened, with one decimal (``None``: nothing happened).
    ``within_range_percent``: share of the values that lay in the range, of the ``with_range`` that had one.
    """

    product: str | None
    compared: int
    mean_error: int
    mean_error_percent: float | None
    with_range: int
    within_range_percent: float | None


def accuracies(
    earlier: Iterable[EarlierForecast], happened: Mapping[tuple[str | None, datetime], int]
) -> tuple[Accuracy, ...]:
    """Compare earlier forecasts with what happened, by scope.

    ``happened``: consumption by scope (``None``: the pool) and the end of a closed window.
    """
    tallies: dict[str | None, _Tally] = {}
    for forecast in earlier:
        for scope in forecast.scopes:
            for point in scope.path:
                actual = happened.get((scope.product, point.at)) if point.at > forecast.made_at else None
                if actual is not None:
                    tallies.setdefault(scope.product, _Tally()).add(point.median, point.low, point.high, actual)
    return tuple(tally.accuracy(product) for product, tally in tallies.items())


@dataclass(slots=True)
class _Tally:
    compared: int = 0
    errors: int = 0
    happened: int = 0
    with_range: int = 0
    within: int = 0

    def add(self, median: int, low: int | None, high: int | None, actual: int) -> None:
        """Count one value."""
        self.compared += 1
        self.errors += abs(median - actual)
        self.happened += actual
        if low is not None and high is not None:
            self.with_range += 1
            self.within += low <= actual <= high

    def accuracy(self, product: str | None) -> Accuracy:
        """Return what was counted, for a scope."""
        percent, within = percent_tenths(self.errors, self.happened), percent_tenths(self.within, self.with_range)
        return Accuracy(
            product,
            self.compared,
            (2 * self.errors + self.compared) // (2 * self.compared),
            None if percent is None else percent / 10,
            self.with_range,
            None if within is None else within / 10,
        )
