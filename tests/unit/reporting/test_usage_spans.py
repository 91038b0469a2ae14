"""Usage by day and hour, against a slow reference made of single events."""

import math
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple, cast
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.reporting.domain.span_figures import EPOCH, MeasuredDay, MeasuredHour, MeterUsage, hour_of
from services.reporting.domain.usage import UsageItem
from services.reporting.domain.usage_spans import SpanInterval, SpanRequest, UnalignedZoneError, midnight, span_items
from shared.events.ids import MeterId, ProductId
from shared.events.state import Aggregation, Meter, ProductState, Rate, SubscribedProduct, SubscriptionState, Term
from tests.support.builders.published import NOW, START, subscription

BERLIN = ZoneInfo("Europe/Berlin")
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


class Event(NamedTuple):
    """A usage event."""

    at: datetime
    quantity: int
    resource: str


def meter(aggregation: Aggregation, reset: str = "window") -> Meter:
    """A meter at 3 units per 7 things, and 5 per 2 from the 20th day on."""
    rates = [
        Rate(version=1, units=3, block=7, effective_from=START),
        Rate(version=2, units=5, block=2, effective_from=START + timedelta(days=20)),
    ]
    return Meter.model_validate(
        {"meter": "host", "name": "Hosts", "aggregation": aggregation, "reset": reset, "rates": rates}
    )


def product(one: Meter) -> dict[str, ProductState]:
    """The catalogue with one product of one meter."""
    state = ProductState(id=ProductId("scan"), name="Scan", sources=(), meters=(one,), version=1)
    return {"scan": state}


def own_aggregate(one: Meter, events: Sequence[Event]) -> Decimal:
    """What some events amount to by themselves."""
    levels = [(event.at, event.quantity) for event in events]
    match one.aggregation:
        case "sum":
            return Decimal(sum(event.quantity for event in events))
        case "count":
            return Decimal(len(events))
        case "unique":
            return Decimal(len({event.resource for event in events}))
        case "peak":
            return Decimal(max((event.quantity for event in events), default=0))
        case "latest":
            return Decimal(max(levels, default=(EPOCH, 0))[1])


def stored_hours(one: Meter, events: Sequence[Event]) -> list[MeasuredHour]:
    """The hours as metering publishes them."""
    by_hour: dict[int, list[Event]] = {}
    for event in events:
        by_hour.setdefault(hour_of(event.at), []).append(event)
    gaps: dict[int, dict[int, int]] = {hour: {} for hour in by_hour}
    for resource in {event.resource for event in events}:
        seen = sorted({hour_of(event.at) for event in events if event.resource == resource})
        for before, hour in pairwise(seen):
            if hour - before <= 24:
                gaps[hour][hour - before] = gaps[hour].get(hour - before, 0) + 1
    unique = one.aggregation == "unique"
    return [
        MeasuredHour(hour, own_aggregate(one, its), sorted(gaps[hour].items()) if unique else (), 1, NOW)
        for hour, its in sorted(by_hour.items())
    ]


def stored_days(one: Meter, events: Sequence[Event]) -> list[MeasuredDay]:
    """The UTC days as metering publishes them."""
    days = sorted({event.at.date() for event in events})
    return [
        MeasuredDay(day, own_aggregate(one, [event for event in events if event.at.date() == day]), 1, NOW)
        for day in days
    ]


def reference_units(one: Meter, state: SubscriptionState, spans: Sequence[UsageItem], events: Sequence[Event]) -> int:
    """The units of the last of these spans, which are all of its term."""

    def rate(at: datetime) -> Rate:
        return one.rate_at(state.calendar.window_at(at).start)

    last = spans[-1]
    if one.reset == "window":
        its = [event for event in events if last.start <= event.at < last.end]
        return math.ceil(Fraction(own_aggregate(one, its)) * rate(last.start).units / rate(last.start).block)

    def total(until: datetime) -> int:
        term = state.term_at(last.start).start
        exact = Fraction(0)
        for span in spans:
            its = [event for event in events if span.start <= event.at < span.end]
            if state.term_at(span.start).start == term and span.end <= until:
                exact += Fraction(own_aggregate(one, its)) * rate(span.start).units / rate(span.start).block
        return math.ceil(exact)

    return total(last.end) - total(last.start)


EVENTS = st.lists(
    st.builds(
        lambda minute, quantity, resource: Event(START + timedelta(minutes=minute), quantity, resource),
        st.integers(0, 40 * 24 * 60),
        st.integers(0, 9),
        st.sampled_from("abc"),
    ),
    max_size=25,
)
AGGREGATIONS: list[Aggregation] = ["sum", "count", "peak", "unique", "latest"]
# Without hours between, so that the spans begin together with the windows and the term.
SUBSCRIBED = subscription()


@settings(max_examples=200)
@given(EVENTS, st.sampled_from(AGGREGATIONS), st.sampled_from(["day", "hour"]))
def test_spans_in_utc_equal_the_reference(events: list[Event], aggregation: Aggregation, interval: str) -> None:
    resets = ("window", "term") if aggregation in {"sum", "count"} else ("window",)
    for reset in resets:
        one = meter(aggregation, reset)
        usage = MeterUsage(hours=stored_hours(one, events))
        if interval == "day":
            usage = MeterUsage(days=stored_days(one, events))
        request = SpanRequest(SUBSCRIBED, cast(SpanInterval, interval), UTC, START, START + 41 * DAY, NOW)
        items = span_items(request, product(one), {("scan", "host"): usage})
        assert_equal(items, one, events)


@settings(max_examples=100)
@given(EVENTS, st.sampled_from(AGGREGATIONS))
def test_days_of_a_time_zone_equal_the_reference(events: list[Event], aggregation: Aggregation) -> None:
    one = meter(aggregation)
    first = datetime(2026, 1, 1, tzinfo=BERLIN)
    request = SpanRequest(SUBSCRIBED, "day", BERLIN, first, first + 41 * DAY, NOW)
    items = span_items(request, product(one), {("scan", "host"): MeterUsage(hours=stored_hours(one, events))})
    assert [item.start.astimezone(BERLIN).hour for item in items] == [0] * len(items)
    assert_equal(items, one, events)


def assert_equal(items: list[UsageItem], one: Meter, events: Sequence[Event]) -> None:
    """Assert that each span has its own figure and units, and that they add up."""
    for place, item in enumerate(items):
        its = [event for event in events if item.start <= event.at < item.end]
        assert item.aggregate == own_aggregate(one, its)
        if its or place % 97 == 0:  # the reference is slow
            assert item.consumed == reference_units(one, SUBSCRIBED, items[: place + 1], events)
        assert (item.revision > 0) == bool(its)
    if one.reset == "term" and items:
        total = items[-1].term_to_date
        assert total is not None
        assert total.consumed == sum(item.consumed for item in items)
        assert total.aggregate == sum(item.aggregate for item in items)


def days_of(zone: str, first: date, count: int) -> list[float]:
    """Return the lengths of days in hours."""
    tz = ZoneInfo(zone)
    start = midnight(first, tz)
    state = subscription(term=Term(start=START - 400 * DAY, end=START + 400 * DAY))
    spans = SpanRequest(state, "day", tz, start, midnight(first + count * DAY, tz), START + 400 * DAY).spans()
    return [(span.end - span.start) / HOUR for span in spans]


def test_days_have_23_and_25_hours_when_clocks_change() -> None:
    assert days_of("Europe/Berlin", date(2026, 3, 28), 3) == [24, 23, 24]
    assert days_of("Europe/Berlin", date(2026, 10, 24), 3) == [24, 25, 24]
    assert days_of("America/Santiago", date(2026, 9, 5), 3) == [24, 23, 24], "midnight itself is left out there"


@pytest.mark.parametrize("zone", ["Asia/Kolkata", "Asia/Kathmandu", "Australia/Adelaide"])
def test_days_are_refused_when_they_begin_within_an_hour(zone: str) -> None:
    with pytest.raises(UnalignedZoneError, match="does not begin with an hour"):
        days_of(zone, date(2026, 3, 28), 3)


def items_of(usage: MeterUsage, state: SubscriptionState | None = None, **changes: object) -> list[UsageItem]:
    """The items of ten days, of a meter that counts resources."""
    request = SpanRequest(state or SUBSCRIBED, "day", UTC, START, START + 10 * DAY, NOW)
    for name, value in changes.items():
        object.__setattr__(request, name, value)
    return span_items(request, product(meter("unique")), {("scan", "host"): usage})


def test_days_without_usage_are_shown_while_the_product_was_subscribed() -> None:
    used = SubscribedProduct(
        product=ProductId("scan"), allocated=1, subscribed_at=START + 2 * DAY, ended_at=START + 5 * DAY
    )
    state = subscription(products=[used])
    assert [item.start for item in items_of(MeterUsage(), state)] == [START + place * DAY for place in (2, 3, 4)]
    late = MeasuredDay((START + 8 * DAY).date(), Decimal(3), 2, NOW)
    assert [item.revision for item in items_of(MeterUsage(days=[late]), state)] == [0, 0, 0, 2]


def test_only_begun_spans_are_shown() -> None:
    shown = items_of(MeterUsage(), end=NOW + 10 * DAY, start=NOW - DAY)
    assert [item.start for item in shown] == [(NOW - DAY).replace(hour=0), NOW.replace(hour=0)]
    assert [item.provisional for item in shown] == [True, True]
    assert not items_of(MeterUsage(), start=NOW + DAY, end=NOW + 2 * DAY)


def test_measured_days_are_shown_from_the_first_to_the_last() -> None:
    days = [MeasuredDay((START + place * DAY).date(), Decimal(1), 1, NOW) for place in (3, 6)]
    assert len(items_of(MeterUsage(days=days), measured_only=True)) == 4
    assert not items_of(MeterUsage(), measured_only=True)


def test_the_total_goes_on_from_the_days_before() -> None:
    one = meter("sum", "term")
    events = [Event(START + place * DAY + HOUR, 1, "a") for place in range(12)]
    days = stored_days(one, events)
    request = SpanRequest(SUBSCRIBED, "day", UTC, START + 10 * DAY, START + 12 * DAY, NOW)
    whole = SpanRequest(SUBSCRIBED, "day", UTC, START, START + 12 * DAY, NOW)
    cut = span_items(request, product(one), {("scan", "host"): MeterUsage(days=days[10:], before=days[:10])})
    assert cut == span_items(whole, product(one), {("scan", "host"): MeterUsage(days=days)})[-2:]
    assert cut[0].term_to_date is not None


def test_no_total_is_shown_when_the_term_began_before_what_is_stored() -> None:
    state = subscription(term=Term(start=NOW - 500 * DAY, end=NOW + 100 * DAY))
    day = MeasuredDay(START.date(), Decimal(7), 1, NOW)
    request = SpanRequest(state, "day", UTC, START, START + DAY, NOW)
    (item,) = span_items(request, product(meter("sum", "term")), {("scan", "host"): MeterUsage(days=[day])})
    assert (item.term_to_date, item.consumed) == (None, 3)


def test_a_meter_or_product_can_be_chosen() -> None:
    known = product(meter("unique"))["scan"].model_copy(
        update={"meters": (meter("unique"), meter("peak").model_copy(update={"meter": MeterId("other")}))}
    )
    show: Callable[..., list[UsageItem]] = lambda **of: span_items(  # noqa: E731
        SpanRequest(SUBSCRIBED, "day", UTC, START, START + DAY, NOW, **of), {"scan": known}, {}
    )
    assert [item.meter for item in show()] == ["host", "other"]
    assert [item.meter for item in show(meter="other")] == ["other"]
    assert not show(product="hub")
