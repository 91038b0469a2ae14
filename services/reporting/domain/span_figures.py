"""What a meter measured in spans of time, from its stored days and hours.

A day or hour is stored as metering published it. Spans that are not days of UTC are put together from hours.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

from shared.events.state import Meter
from shared.resource_hours import ResourceHour, distinct_resources
from shared.windows import Window

HOUR = timedelta(hours=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class MeasuredHour(NamedTuple):
    """One hour of a meter; ``hour``: hours since 1970 in UTC."""

    hour: int
    aggregate: Decimal
    returning: Sequence[tuple[int, int]]
    revision: int
    as_of: datetime


class MeasuredDay(NamedTuple):
    """One UTC day of a meter."""

    day: date
    aggregate: Decimal
    revision: int
    as_of: datetime


@dataclass(slots=True)
class MeterUsage:
    """What is stored of one meter for a request.

    ``days``: those of UTC, if the spans are; else ``hours``. ``before``: the UTC days of the term before the first of
    these, of a meter that burns down.
    """

    days: list[MeasuredDay] = field(default_factory=list)
    hours: list[MeasuredHour] = field(default_factory=list)
    before: list[MeasuredDay] = field(default_factory=list)


class SpanFigure(NamedTuple):
    """What was measured in a span; ``revision`` 0: nothing."""

    aggregate: Decimal
    revision: int
    as_of: datetime | None


_NOTHING = SpanFigure(Decimal(0), 0, None)


def hour_of(at: datetime) -> int:
    """Return the number of hours since 1970 at which an instant's hour begins."""
    return (at - EPOCH) // HOUR


def span_figures(meter: Meter, spans: Sequence[Window], stored: MeterUsage) -> Iterator[SpanFigure]:
    """Yield what was measured in each span."""
    if stored.days:
        by_day = {one.day: one for one in stored.days}
        for span in spans:
            day = by_day.get(span.start.date())
            yield _NOTHING if day is None else SpanFigure(day.aggregate, day.revision, day.as_of)
        return
    hours, place = stored.hours, 0
    for span in spans:
        first, end = hour_of(span.start), hour_of(span.end)
        while place < len(hours) and hours[place].hour < first:
            place += 1
        until = place
        while until < len(hours) and hours[until].hour < end:
            until += 1
        yield _combined(meter, hours[place:until], first, end - first)
        place = until


def _combined(meter: Meter, hours: Sequence[MeasuredHour], first: int, count: int) -> SpanFigure:
    if not hours:
        return _NOTHING
    amounts = [one.aggregate for one in hours]
    match meter.aggregation:
        case "peak":
            aggregate = max(amounts)
        case "latest":
            aggregate = amounts[-1]
        case "unique":
            counted = [ResourceHour(one.hour, int(one.aggregate), one.returning) for one in hours]
            aggregate = Decimal(distinct_resources(counted, first, count))
        case "sum" | "count":
            aggregate = sum(amounts, Decimal(0))
    revision = sum({one.hour // 24: one.revision for one in hours}.values())
    return SpanFigure(aggregate, revision, max(one.as_of for one in hours))
