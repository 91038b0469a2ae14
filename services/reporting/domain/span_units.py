"""The units of one meter's spans, one after the other."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

from services.reporting.domain.span_figures import EPOCH, HOUR, MeterUsage
from services.reporting.domain.usage import MeterTotal
from shared.events.state import Meter, Rate, SubscriptionState
from shared.units import MAX_UNITS

KEPT = timedelta(days=395)
"""Retention of usage by day."""


class SpanUnits:
    """The units of one meter's spans, which are given in order of time."""

    def __init__(self, subscription: SubscriptionState, meter: Meter, now: datetime) -> None:
        self._subscription = subscription
        self._meter = meter
        self._kept_from = now - KEPT
        self._window_end = datetime.min.replace(tzinfo=UTC)
        self._rate: Rate = meter.rates[0]
        self._term: datetime | None = None
        self._aggregate = Decimal(0)
        self._exact = Fraction(0)
        self._consumed = 0

    def begin(self, first: datetime, stored: MeterUsage) -> None:
        """Add up the term's usage before the first span."""
        for day in stored.before:
            self.of(datetime(day.day.year, day.day.month, day.day.day, tzinfo=UTC), day.aggregate)
        for hour in stored.hours:
            at = EPOCH + hour.hour * HOUR
            if at < first:
                self.of(at, hour.aggregate)

    def of(self, at: datetime, aggregate: Decimal) -> tuple[int, MeterTotal | None]:
        """Return the units of a span, and the term's totals after it.

        ``at``: when it begins. The totals are of a meter that burns down, whose term's usage is all stored.
        """
        if at >= self._window_end:
            self._enter_window(at)
        if self._meter.reset == "window":
            return _rounded_up(aggregate, self._rate), None
        before = self._consumed
        if aggregate:
            self._aggregate += aggregate
            self._exact += Fraction(aggregate) * self._rate.units / self._rate.block
            self._consumed = min(-(-self._exact.numerator // self._exact.denominator), MAX_UNITS)
        is_whole = self._term is not None and self._term >= self._kept_from
        total = MeterTotal(self._aggregate, self._consumed) if is_whole else None
        return self._consumed - before, total

    def _enter_window(self, at: datetime) -> None:
        window = self._subscription.calendar.window_at(at)
        self._window_end = window.end
        self._rate = self._subscription.rate_of(self._meter, window.start)
        term = self._subscription.term_at(at).start
        if term != self._term:
            self._term, self._aggregate, self._exact, self._consumed = term, Decimal(0), Fraction(0), 0


def _rounded_up(aggregate: Decimal, rate: Rate) -> int:
    part, whole = aggregate.as_integer_ratio()
    return min(-(-part * rate.units // (whole * rate.block)), MAX_UNITS)
