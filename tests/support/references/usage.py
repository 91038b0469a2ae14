"""A slow and simple reference of the aggregates of usage and corrections.

A set of events has one meaning, whatever order they arrive in, how often, and in which batches.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from math import ceil
from typing import Any

from shared.events.state import Meter, Rate, SubscriptionState
from tests.support.builders.metering import NOW, PRODUCTS, SUBSCRIPTIONS

Event = dict[str, Any]
Key = tuple[str, str, str, datetime]
"""Subscription, product, meter, window start."""
Figures = dict[Key, tuple[Decimal, datetime | None]]
"""The aggregate, and when a level was reached."""

NOTHING: tuple[Decimal, datetime | None] = (Decimal(0), None)
RECORDED, REVERSED, PURGED = (
    f"unitpool.platform.{name}.v1" for name in ("usage.recorded", "usage.reversed", "resource.purged")
)
States = Mapping[str, SubscriptionState]
"""By id: the newest of each subscription."""
_STATES: States = {state.id: state for state in SUBSCRIPTIONS}
_METERS = {(state.id, one.meter): one for state in PRODUCTS for one in state.meters}


def distinct(events: Iterable[Event]) -> list[Event]:
    """Return the first event of each (source, id) per day."""
    seen: dict[tuple[str, str, str], Event] = {}
    for item in events:
        seen.setdefault((item["source"], item["id"], item["time"][:10]), item)
    return list(seen.values())


def at(item: Event) -> datetime:
    """Return the time of an event."""
    return datetime.fromisoformat(item["time"])


def window_of(state: SubscriptionState, instant: datetime) -> tuple[datetime, datetime]:
    """Return start and end of the window that contains the instant.

    Windows are counted from the start of the term that contains it, and end where the next term begins.
    """
    starts = [term.start for term in state.all_terms]
    start = max((one for one in starts if one <= instant), default=starts[0])
    length = timedelta(days=state.window_days)
    while instant < start:
        start -= length
    while instant >= start + length:
        start += length
    return start, min([start + length, *(one for one in starts if one > start)])


def counts(state: SubscriptionState, product: str, instant: datetime) -> bool:
    """Return whether usage of this time counts.

    It does in a term, before a cancellation, while the product is used.
    """
    in_term = any(term.start <= instant < term.end for term in state.all_terms)
    if not in_term or (state.cancelled_at is not None and instant >= state.cancelled_at):
        return False
    for use in state.products:
        if use.product == product:
            spans = [*((one.start, one.end) for one in use.earlier), (use.subscribed_at, use.ended_at)]
            spans[0] = (min(spans[0][0], state.all_terms[0].start), spans[0][1])
            return any(start <= instant and (end is None or instant < end) for start, end in spans)
    return False


def counting(events: Iterable[Event], states: States) -> list[Event]:
    """Each event once, without usage and purges of times at which nothing counts."""
    return [
        item
        for item in distinct(events)
        if item["type"] == REVERSED or counts(states[item["subject"]], item["data"]["product"], at(item))
    ]


def may_reverse(correction: Event, target: Event) -> bool:
    """Whether the reversal, accepted now, may reverse this event."""
    named = (correction["data"]["source"], correction["data"]["id"])
    return (
        named == (target["source"], target["id"])
        and target["type"] != REVERSED
        and target["subject"] == correction["subject"]
        and target["data"]["product"] == correction["data"]["product"]
        and at(target) >= NOW - timedelta(days=35)
    )


def unreversed(events: Iterable[Event]) -> list[Event]:
    """Return the events that are not reversed."""
    events = list(events)
    reversals = [item for item in events if item["type"] == REVERSED]
    return [item for item in events if not any(may_reverse(one, item) for one in reversals)]


def aggregates(events: Iterable[Event], states: States = _STATES) -> Figures:
    """Return the aggregate of each window, and when its level was reached.

    A window is of a subscription, product and meter.
    """
    standing = unreversed(counting(events, states))
    grouped: dict[Key, list[Event]] = defaultdict(list)
    for item in standing:
        if item["type"] == RECORDED:
            grouped[_key(item, states)].append(item)
    purges = [item for item in standing if item["type"] == PURGED]
    figures = {key: _aggregate(key, seen, purges, states) for key, seen in grouped.items()}
    return {key: figure for key, figure in figures.items() if figure != NOTHING}


def resources(events: Iterable[Event], states: States = _STATES) -> dict[Key, set[str]]:
    """Return the resources seen later than their last purge in the same window."""
    standing = unreversed(counting(events, states))
    found: dict[Key, set[str]] = defaultdict(set)
    purges = [item for item in standing if item["type"] == PURGED]
    for item in standing:
        if item["type"] == RECORDED and _meter(item).aggregation == "unique" and _is_later_than(item, purges, states):
            found[_key(item, states)].add(item["data"]["resource"])
    return dict(found)


def _is_later_than(item: Event, purges: Iterable[Event], states: States) -> bool:
    same = [
        at(one)
        for one in purges
        if _key(one, states) == _key(item, states) and one["data"]["resource"] == item["data"]["resource"]
    ]
    return not same or at(item) > max(same)


def _meter(item: Event) -> Meter:
    return _METERS[item["data"]["product"], item["data"]["meter"]]


def _key(item: Event, states: States) -> Key:
    start, _ = window_of(states[item["subject"]], at(item))
    return item["subject"], item["data"]["product"], item["data"]["meter"], start


def _aggregate(key: Key, seen: list[Event], purges: list[Event], states: States) -> tuple[Decimal, datetime | None]:
    levels = [(at(item), Decimal(item["data"].get("quantity", 1))) for item in seen]
    match _METERS[key[1], key[2]].aggregation:  # type: ignore[index]
        case "sum":
            return sum((quantity for _, quantity in levels), Decimal(0)), None
        case "count":
            return Decimal(len(seen)), None
        case "unique":
            return Decimal(len({one["data"]["resource"] for one in seen if _is_later_than(one, purges, states)})), None
        case "peak":
            top = max(quantity for _, quantity in levels)
            return top, min(when for when, quantity in levels if quantity == top)
        case "latest":
            last, level = max(levels)
            return level, last


def hours(events: Iterable[Event], states: States = _STATES) -> dict[Key, tuple[int, Decimal, Decimal]]:
    """Return number, sum and largest quantity of events per hour.

    The hour takes the place of the window.
    """
    grouped: dict[Key, list[Decimal]] = defaultdict(list)
    for item in unreversed(counting(events, states)):
        if item["type"] == RECORDED:
            hour = at(item).replace(minute=0, second=0, microsecond=0)
            grouped[(*_key(item, states)[:3], hour)].append(Decimal(item["data"].get("quantity", 1)))
    return {key: (len(all_), sum(all_, Decimal(0)), max(all_)) for key, all_ in grouped.items()}


Days = dict[tuple[str, str, str, date], tuple[Decimal, dict[int, Decimal]]]
"""By subscription, product, meter and UTC day: its aggregate, and its hours'."""


def days(events: Iterable[Event], states: States = _STATES) -> Days:
    """Return what each day and each hour of it measured by itself."""
    standing = unreversed(counting(events, states))
    purges = [item for item in standing if item["type"] == PURGED]
    grouped: dict[tuple[str, str, str, date], list[Event]] = defaultdict(list)
    for item in standing:
        if item["type"] == RECORDED and (_meter(item).aggregation != "unique" or _is_later_than(item, purges, states)):
            grouped[(*_key(item, states)[:3], at(item).date())].append(item)
    return {
        key: (
            _own_aggregate(_METERS[key[1], key[2]], seen),  # type: ignore[index]
            {
                hour: _own_aggregate(
                    _METERS[key[1], key[2]],  # type: ignore[index]
                    [one for one in seen if at(one).hour == hour],
                )
                for hour in {at(one).hour for one in seen}
            },
        )
        for key, seen in grouped.items()
    }


def _own_aggregate(meter: Meter, seen: list[Event]) -> Decimal:
    levels = [(at(item), Decimal(item["data"].get("quantity", 1))) for item in seen]
    match meter.aggregation:
        case "sum":
            return sum((quantity for _, quantity in levels), Decimal(0))
        case "count":
            return Decimal(len(seen))
        case "unique":
            return Decimal(len({one["data"]["resource"] for one in seen}))
        case "peak":
            return max(quantity for _, quantity in levels)
        case "latest":
            return max(levels)[1]


def units(
    figures: Figures, subscription: str, product: str, meter: str, start: datetime, *, states: States = _STATES
) -> int:
    """Return pool units of a meter in a window, rounded up once.

    The rate is that of the window's start.
    """
    state, one = states[subscription], _METERS[product, meter]  # type: ignore[index]
    first = start
    if one.reset == "term":
        first = max((term.start for term in state.all_terms if term.start <= start), default=start)
    exact = Fraction(0)
    for (of, name, of_meter, window), (aggregate, _) in figures.items():
        if (of, name, of_meter) == (subscription, product, meter) and first <= window <= start:
            rate = _rate(one, window)
            exact += Fraction(aggregate) * rate.units / rate.block
    return ceil(exact)


def _rate(meter: Meter, instant: datetime) -> Rate:
    begun = [rate for rate in meter.rates if rate.effective_from <= instant]
    return max(begun, key=lambda rate: rate.effective_from) if begun else meter.rates[0]
