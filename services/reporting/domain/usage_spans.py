"""Usage by day and hour: what each meter measured in each span by itself.

- An item per span, product and meter: spans that overlap the requested time, have begun, and in which the product was
  subscribed to; without usage they have 0 (and ``revision`` 0).
- A span's figure is its own: levels and resources of days do not add up to a window.
- Units are those of the rate in force at the start of the window in which the span begins. For a meter that burns down
  they are what the span added: the difference of the term's running totals, so that spans add up. A span belongs to the
  term in which it begins.
- Days begin at midnight of a time zone. Hours are those of UTC, so an hour in which clocks are set back is there twice.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Literal

from services.reporting.domain.span_figures import HOUR, MeterUsage, span_figures
from services.reporting.domain.span_units import SpanUnits
from services.reporting.domain.usage import UsageItem, spans_of_use
from shared.events.state import Meter, ProductState, SubscriptionState
from shared.windows import PROVISIONAL_FOR, Window

SpanInterval = Literal["day", "hour"]


class UnalignedZoneError(ValueError):
    """Days of this time zone do not begin with an hour of UTC."""


@dataclass(frozen=True, slots=True)
class SpanRequest:
    """The requested part of a subscription's usage, in spans of ``interval``.

    Spans that overlap ``start`` to ``end``, as of ``now``. ``zone``: where days begin. ``measured_only``: show each
    product from its first measured span to its last.
    """

    subscription: SubscriptionState
    interval: SpanInterval
    zone: tzinfo
    start: datetime
    end: datetime
    now: datetime
    product: str | None = None
    meter: str | None = None
    measured_only: bool = False

    def spans(self) -> list[Window]:
        """Return the spans, in order of time, with their times in UTC.

        Raises:
            UnalignedZoneError: a day begins within an hour of UTC.
        """
        end = min(self.end, self.now)
        if self.interval == "hour":
            first = self.start.replace(minute=0, second=0, microsecond=0)
            count = max(0, -((first - end) // HOUR))
            return [Window(first + place * HOUR, first + (place + 1) * HOUR) for place in range(count)]
        return list(self._days(end))

    def _days(self, end: datetime) -> Iterator[Window]:
        day = self.start.astimezone(self.zone).date()
        begin = midnight(day, self.zone)
        while begin < end:
            day += timedelta(days=1)
            following = midnight(day, self.zone)
            yield Window(begin, following)
            begin = following


def check_zone(zone: tzinfo, start: datetime, end: datetime) -> None:
    """Check that the days between two instants begin with hours of UTC.

    Raises:
        UnalignedZoneError: one does not.
    """
    day = start.astimezone(zone).date()
    while midnight(day, zone) < end:
        day += timedelta(days=1)


def midnight(day: date, zone: tzinfo) -> datetime:
    """Return when a day begins in a time zone, in UTC: at midnight, or after a gap.

    Raises:
        UnalignedZoneError: that is within an hour of UTC.
    """
    begin = datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)
    if begin.minute or begin.second:
        raise UnalignedZoneError(f"{day} does not begin with an hour of UTC")
    return begin


def span_items(
    request: SpanRequest,
    catalogue: Mapping[str, ProductState],
    stored: Mapping[tuple[str, str], MeterUsage],
) -> list[UsageItem]:
    """List the items in order of time and product, meters as in the catalogue.

    ``stored``: by product and meter. Products that the catalogue does not know yet are left out.
    """
    spans = request.spans()
    provisional_from = request.now - PROVISIONAL_FOR
    provisional = [span.end > provisional_from for span in spans]
    used = {str(one.product): one for one in request.subscription.products if request.product in {None, one.product}}
    shown: list[tuple[list[bool], list[list[UsageItem]]]] = []
    for product in sorted({product for product, _ in stored} | used.keys()):
        known = catalogue.get(product)
        meters = [one for one in known.meters if request.meter in {None, one.meter}] if known else []
        items = [
            _items(request, product, meter, spans, provisional, stored.get((product, meter.meter), MeterUsage()))
            for meter in meters
        ]
        uses = list(spans_of_use(request, used[product])) if product in used else []
        shown.append((_shown(request, spans, uses, items), items))
    return [
        of_meter[place]
        for place in range(len(spans))
        for is_shown, items in shown
        if is_shown[place]
        for of_meter in items
    ]


def _shown(
    request: SpanRequest,
    spans: Sequence[Window],
    uses: Sequence[tuple[datetime, datetime]],
    items: Sequence[Sequence[UsageItem]],
) -> list[bool]:
    """Return for each span whether it is shown of a product."""
    measured = [any(one[place].revision for one in items) for place in range(len(spans))]
    if request.measured_only:
        first = measured.index(True) if True in measured else len(spans)
        last = len(spans) - measured[::-1].index(True) if True in measured else 0
        return [first <= place < last for place in range(len(spans))]
    return [
        is_measured or any(start < span.end and span.start < end for start, end in uses)
        for span, is_measured in zip(spans, measured, strict=True)
    ]


def _items(  # noqa: PLR0917  # of a loop over meters
    request: SpanRequest,
    product: str,
    meter: Meter,
    spans: Sequence[Window],
    provisional: Sequence[bool],
    stored: MeterUsage,
) -> list[UsageItem]:
    """Return an item for each span of a meter, also for those that are not shown."""
    units = SpanUnits(request.subscription, meter, request.now)
    if meter.reset == "term" and spans:
        units.begin(spans[0].start, stored)
    name, units_of = str(meter.meter), units.of
    made = []
    for span, is_provisional, figure in zip(spans, provisional, span_figures(meter, spans, stored), strict=True):
        aggregate, revision, as_of = figure
        consumed, total = units_of(span.start, aggregate)
        made.append(
            UsageItem(product, name, span.start, span.end, aggregate, consumed, is_provisional, revision, total, as_of)
        )
    return made
