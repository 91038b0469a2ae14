"""Usage of a period, as it is shown: its items, its meters, and the period before."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Literal

from services.reporting.domain.usage import UsageItem
from services.reporting.domain.usage_spans import midnight
from shared.events.state import Aggregation, ProductState, Reset, SubscriptionState

UsageInterval = Literal["window", "day", "hour"]
_ADDITIVE: frozenset[Aggregation] = frozenset({"sum", "count"})


@dataclass(frozen=True, slots=True)
class WantedUsage:
    """The usage that is requested, in spans that overlap ``start`` to ``end``.

    ``kept_from``: since when it is stored. ``measured_only``: each product from its first measured span to its last.
    ``compare``: also the period of the same length before.
    """

    interval: UsageInterval
    zone: tzinfo
    start: datetime
    end: datetime
    kept_from: datetime
    product: str | None = None
    meter: str | None = None
    measured_only: bool = False
    compare: bool = False

    def first_start(self, subscription: SubscriptionState) -> datetime:
        """Return the start of the first span."""
        if self.interval == "window":
            return subscription.calendar.window_at(self.start).start
        if self.interval == "hour":
            return self.start.replace(minute=0, second=0, microsecond=0)
        return midnight(self.start.astimezone(self.zone).date(), self.zone)


@dataclass(frozen=True, slots=True)
class Period:
    """A span of time; ``end`` is exclusive."""

    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class ShownMeter:
    """A meter of the answer. ``additive``: its spans add up to longer ones."""

    product: str
    meter: str
    aggregation: Aggregation
    reset: Reset
    additive: bool


@dataclass(frozen=True, slots=True)
class UsageShown:
    """Usage, and that of the period before if it was requested.

    ``as_of``: what was applied by then is counted in; ``None`` without usage.
    """

    items: Sequence[UsageItem]
    meters: Sequence[ShownMeter]
    as_of: datetime | None
    previous: Period | None = None
    previous_items: Sequence[UsageItem] = ()

    @property
    def additive(self) -> bool:
        """Whether the spans of every meter add up to longer ones."""
        return all(one.additive for one in self.meters)


def previous_period(wanted: WantedUsage, subscription: SubscriptionState) -> Period | None:
    """Return the period of the same length that ends where the first span begins.

    It begins no earlier than usage is stored. ``None``: nothing of it is stored.
    """
    end = wanted.first_start(subscription)
    start = max(end - (wanted.end - wanted.start), wanted.kept_from)
    return Period(start, end) if start < end else None


def shown_meters(catalogue: Mapping[str, ProductState], shown: Collection[tuple[str, str]]) -> list[ShownMeter]:
    """Describe the meters that are shown, in order of product, as in the catalogue.

    ``shown``: product and meter. Only sums and counts add up.
    """
    return [
        ShownMeter(product, meter.meter, meter.aggregation, meter.reset, meter.aggregation in _ADDITIVE)
        for product in sorted({product for product, _ in shown} & catalogue.keys())
        for meter in catalogue[product].meters
        if (product, meter.meter) in shown
    ]
