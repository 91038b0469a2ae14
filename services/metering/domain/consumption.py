"""Consumption in units, computed from aggregates.

It is a pure function of what meters measured and of the catalogue. Rounding: up, once per meter and window, at the rate
in force at the window's start. A meter that adds up over the term sums its windows as exact fractions, each at its own
rate, and is rounded up once.

The types here have the shape of ``shared.events.metering.ConsumptionSnapshot`` and are written by a faster encoder; a
test holds the two together.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Context, Decimal
from fractions import Fraction
from typing import NamedTuple

import msgspec

from services.metering.domain.catalogue import MeterView, ProductView
from services.metering.domain.subscription import Subscription
from shared.events.metering import ConsumptionSnapshot
from shared.events.state import Rate
from shared.units import MAX_UNITS
from shared.windows import Window

_EXACT = Context(prec=100)


class Measured(NamedTuple):
    """What one meter measured in one window.

    ``reached_at``: when a level reached ``aggregate``.
    """

    window_start: datetime
    aggregate: Decimal
    reached_at: datetime | None
    revision: int
    as_of: datetime


History = Mapping[int, Sequence[Measured]]
"""Per meter number, the windows that were measured."""


class MeterPart(msgspec.Struct, frozen=True, omit_defaults=True):
    """One meter's part of a snapshot, with its arithmetic.

    The contract is ``shared.events.metering.MeterConsumption``. Of a meter that adds up over the term, ``aggregate``
    and ``consumed`` are the term's totals until the window's end, and ``window_aggregate`` and ``window_consumed`` what
    the window added to them.
    """

    meter: str
    aggregation: str
    reset: str
    aggregate: Decimal
    units: int
    block: int
    rate_version: int
    consumed: int
    peak_at: datetime | None = None
    window_aggregate: Decimal | None = None
    window_consumed: int | None = None


class Snapshot(msgspec.Struct, frozen=True):
    """What one product consumed in one window."""

    subscription: str
    product: str
    window_start: datetime
    window_end: datetime
    revision: int
    consumed: int
    meters: tuple[MeterPart, ...]
    as_of: datetime

    @property
    def key(self) -> str:
        """The Kafka key."""
        return f"{self.subscription}|{self.product}|{self.window_start.isoformat()[:19]}Z"


class SnapshotEvent(msgspec.Struct, frozen=True):
    """A snapshot in its envelope.

    The same state has the same ``id``, however often it is published.
    """

    id: str
    subject: str
    time: datetime
    data: Snapshot
    specversion: str = "1.0"
    source: str = "/metering"
    type: str = ConsumptionSnapshot.event_type
    datacontenttype: str = "application/json"


_encoder = msgspec.json.Encoder()


def encode(one: Snapshot, now: datetime) -> tuple[bytes, bytes]:
    """Encode the snapshot as an event of time ``now``; return its Kafka key and value."""
    key = one.key
    return key.encode(), _encoder.encode(SnapshotEvent(f"{key}|{one.revision}", one.subscription, now, one))


def snapshot(subscription: Subscription, product: ProductView, start: datetime, history: History) -> Snapshot | None:
    """Make the snapshot of ``product`` in the window that begins at ``start``.

    ``None`` if nothing was measured. ``history``: the windows of its meters; for a meter that adds up over the term,
    also the term's earlier ones.
    """
    window = subscription.calendar.window_at(start)
    # A newer state than that of its publication may have moved the window; its figures are still to be taken back.
    is_gone = window.start != start
    window = Window(start, window.end)
    parts = [
        (meter, _alone(start, kept) if is_gone else _counted(meter, window, subscription, kept))
        for meter in product.meters.values()
        for kept in [history.get(meter.number, ())]
    ]
    counted = [one for _, windows in parts for one in windows]
    if not counted:
        return None
    meters = tuple(_part(meter, window, windows, subscription) for meter, windows in parts)
    return Snapshot(
        subscription=subscription.id,
        product=product.state.id,
        window_start=window.start,
        window_end=window.end,
        revision=product.state.version + sum(one.revision for one in counted) + _is_locked_before(window, subscription),
        consumed=min(sum(meter.consumed for meter in meters), MAX_UNITS),
        meters=meters,
        as_of=max(one.as_of for one in counted),
    )


def consumed(subscription: Subscription, product: ProductView, window: Window, history: History) -> int:
    """Compute only the ``consumed`` of ``snapshot``; 0 if nothing was measured."""
    total = 0
    for meter in product.meters.values():
        counted = _counted(meter, window, subscription, history.get(meter.number, ()))
        total += _units(meter, counted, subscription.rate_of(meter.state, window.start), subscription)
    return min(total, MAX_UNITS)


def _is_locked_before(window: Window, subscription: Subscription) -> bool:
    """Whether the term's rates were locked before the window began.

    Such a lock counts as one more revision: it may become known after the window's usage, and is never taken back.
    """
    locked_at = subscription.term_at(window.start).rates_locked_at
    return locked_at is not None and locked_at < window.start


def _counted(
    meter: MeterView, window: Window, subscription: Subscription, history: Iterable[Measured]
) -> Sequence[Measured]:
    """Return the windows that count.

    They are this one, and for a term meter those before it in the term.
    """
    if not meter.is_term:
        return _alone(window.start, history)
    first = min(subscription.term_at(window.start).start, window.start)
    return [one for one in history if first <= one.window_start <= window.start]


def _alone(start: datetime, history: Iterable[Measured]) -> Sequence[Measured]:
    return [one for one in history if one.window_start == start]


def _part(meter: MeterView, window: Window, windows: Sequence[Measured], subscription: Subscription) -> MeterPart:
    state = meter.state
    rate = subscription.rate_of(state, window.start)
    here = windows[-1] if windows and windows[-1].window_start == window.start else None
    aggregate = Decimal(0)
    for one in windows:
        aggregate = _EXACT.add(aggregate, one.aggregate)
    units = _units(meter, windows, rate, subscription)
    added, added_units = None, None
    if meter.is_term:
        added = _plain(here.aggregate if here else Decimal(0))
        added_units = units - _units(meter, windows[:-1] if here else windows, rate, subscription)
    return MeterPart(
        meter=state.meter,
        aggregation=state.aggregation,
        reset=state.reset,
        aggregate=_plain(aggregate),
        units=rate.units,
        block=rate.block,
        rate_version=rate.version,
        consumed=units,
        peak_at=here.reached_at if here and state.aggregation == "peak" else None,
        window_aggregate=added,
        window_consumed=added_units,
    )


def _plain(aggregate: Decimal) -> Decimal:
    """Write a whole aggregate without an exponent.

    The database's driver reads 80000 as 8E+4.
    """
    part, whole = aggregate.as_integer_ratio()
    return Decimal(part) if whole == 1 else aggregate


def _units(meter: MeterView, windows: Sequence[Measured], rate: Rate, subscription: Subscription) -> int:
    """Units of the windows that count, rounded up once.

    ``rate``: that of the last window.
    """
    if meter.is_term:
        exact = sum(
            (_exact_units(one.aggregate, subscription.rate_of(meter.state, one.window_start)) for one in windows),
            Fraction(0),
        )
        return min(-(-exact.numerator // exact.denominator), MAX_UNITS)
    if not windows:
        return 0
    part, whole = windows[0].aggregate.as_integer_ratio()
    return min(-(-part * rate.units // (whole * rate.block)), MAX_UNITS)


def _exact_units(aggregate: Decimal, rate: Rate) -> Fraction:
    return Fraction(aggregate) * rate.units / rate.block
