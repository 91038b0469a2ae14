"""Run-outs: when a pool or a product has used up its units.

The limit of a product is its allocation; that of the pool is what is purchased, with lots that begin or end before the
term does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from services.reporting.domain.insights.forecasts import ScopeForecast
from services.reporting.domain.insights.paths import Limit, first_crossing
from shared.events.state import SubscriptionState

RunOutBasis = Literal["with_range", "without_range", "too_early", "used_up", "not_allocated", "not_forecast"]


@dataclass(frozen=True, slots=True)
class RunOut:
    """When the consumption of a scope first reaches its limit.

    ``around`` is that of the median, ``earliest`` and ``latest`` are those of the range's edges. ``None``: not before
    ``reaches``, the end of the forecast, which may lie before or after the term's end. They are all ``None`` unless
    ``basis`` is ``with_range`` or ``without_range``.
    """

    basis: RunOutBasis
    consumed: int
    limit: int
    windows: int
    term_end: datetime
    around: datetime | None = None
    earliest: datetime | None = None
    latest: datetime | None = None
    reaches: datetime | None = None

    @property
    def is_before_term_end(self) -> bool:
        """Whether the units are used up, or probably will be before the term's end."""
        return self.basis == "used_up" or (self.around is not None and self.around < self.term_end)


def run_out_of(
    forecast: ScopeForecast | None, consumed: int, limits: Sequence[Limit], term_end: datetime, now: datetime
) -> RunOut:
    """Compare a forecast of a pool in use with its limits; the first is in force now.

    ``forecast`` is ``None`` if there is none, as for a product that was subscribed to after it was made.
    """
    limit = limits[0].units
    windows = forecast.windows if forecast else 0
    if limit == 0 and consumed == 0:
        return RunOut("not_allocated", consumed, limit, windows, term_end)
    if consumed >= limit:
        return RunOut("used_up", consumed, limit, windows, term_end)
    if forecast is None or forecast.basis == "too_early":
        return RunOut("too_early", consumed, limit, windows, term_end)
    path = forecast.path
    return RunOut(
        forecast.basis,
        consumed,
        limit,
        windows,
        term_end,
        around=first_crossing(path, "median", limits, now),
        earliest=first_crossing(path, "high", limits, now),
        latest=first_crossing(path, "low", limits, now),
        reaches=path[-1].at,
    )


def limits_of_pool(subscription: SubscriptionState, now: datetime) -> tuple[Limit, ...]:
    """Return what is purchased, now and from each change until the term's end."""
    end = subscription.term_at(now).end
    changes = {at for lot in subscription.lots for at in (lot.start, lot.end) if now < at < end}
    return tuple(Limit(at, subscription.purchased(at)) for at in (now, *sorted(changes)))
