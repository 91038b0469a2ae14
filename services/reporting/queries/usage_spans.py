"""The rows from which usage by day and hour is computed."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from services.reporting.domain.span_figures import MeasuredHour, MeterUsage, hour_of
from services.reporting.domain.span_units import KEPT
from services.reporting.domain.usage import UsageItem
from services.reporting.domain.usage_spans import SpanRequest, span_items
from services.reporting.store import products, usage_days
from services.reporting.store.usage_days import WantedDays
from shared.events.state import ProductState
from shared.runtime.postgres.pool import Connection

DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class SpanSource:
    """The rows of usage by day or hour."""

    request: SpanRequest
    catalogue: Mapping[str, ProductState]
    stored: Mapping[tuple[str, str], MeterUsage]
    as_of: datetime | None

    def items(self) -> list[UsageItem]:
        """Compute what each span measured."""
        return span_items(self.request, self.catalogue, self.stored)


async def load_span_source(connection: Connection, request: SpanRequest) -> SpanSource:
    """Load the rows in the consistent read that has read the subscription's state."""
    state, spans = request.subscription, request.spans()
    names = {one.product for one in state.products if request.product in {None, one.product}}
    catalogue = await products.find_products(connection, names | ({request.product} if request.product else set()))
    if not spans:
        return SpanSource(request, catalogue, {}, None)
    first, end = spans[0].start.date(), (spans[-1].end - timedelta(microseconds=1)).date() + DAY
    wanted = WantedDays(state.id, first, end, request.product, request.meter)
    stored: dict[tuple[str, str], MeterUsage] = {}
    times: list[datetime] = []
    if request.interval == "day" and all(one.start.hour == one.end.hour == 0 for one in spans):
        for key, days in (await usage_days.load_days(connection, wanted)).items():
            stored[key] = MeterUsage(days=days)
            times.append(max(one.as_of for one in days))
    else:
        for one in await usage_days.load_hours(connection, wanted):
            stored.setdefault((one.product, one.meter), MeterUsage()).hours += _hours(one)
            times.append(one.as_of)
    await _add_before(connection, request, catalogue, stored, first)
    return SpanSource(request, catalogue, stored, max(times, default=None))


async def _add_before(
    connection: Connection,
    request: SpanRequest,
    catalogue: Mapping[str, ProductState],
    stored: dict[tuple[str, str], MeterUsage],
    first: date,
) -> None:
    """Add the term's earlier days of meters that burn down.

    Their totals go on from these.
    """
    state = request.subscription
    begun = max(state.term_at(request.start).start, request.now - KEPT).date()
    burning = {
        (str(product), str(meter.meter))
        for product, known in catalogue.items()
        for meter in known.meters
        if meter.reset == "term" and request.meter in {None, meter.meter}
    }
    for product in sorted({product for product, _ in burning}) if begun < first else ():
        wanted = WantedDays(state.id, begun, first, product, request.meter)
        for key, days in (await usage_days.load_days(connection, wanted)).items():
            if key in burning:
                stored.setdefault(key, MeterUsage()).before += days


def _hours(row: usage_days.HoursRow) -> Iterable[MeasuredHour]:
    midnight = hour_of(datetime(row.day.year, row.day.month, row.day.day, tzinfo=UTC))
    for one in row.hours:
        yield MeasuredHour(midnight + one.hour, Decimal(one.aggregate), one.returning, row.revision, row.as_of)
