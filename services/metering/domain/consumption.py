"""From aggregates to units: consumption is a pure function of what meters measured and of the catalogue.

Rounding: up, once per meter and window, at the rate in force at the window's start. A meter that adds up over the term
sums its windows as exact fractions, each at its own rate, and is rounded up once.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Context, Decimal
from fractions import Fraction
from typing import NamedTuple

from services.metering.domain.catalogue import MeterView, ProductView
from shared.events.ids import ProductId
from shared.events.metering import ConsumptionSnapshot, MeterConsumption
from shared.events.state import SubscriptionState
from shared.units import MAX_UNITS
from shared.windows import Window, window_at

_EXACT = Context(prec=100)


class Measured(NamedTuple):
    """What one meter measured in one window."""

    window_start: datetime
    aggregate: Decimal
    reached_at: datetime | None
    revision: int
    as_of: datetime


History = Mapping[int, Sequence[Measured]]
"""Per meter number, the windows that were measured."""


def snapshot(
    subscription: SubscriptionState, product: ProductView, start: datetime, history: History
) -> ConsumptionSnapshot | None:
    """What ``product`` consumed in the window that begins at ``start``; ``None`` where nothing was measured."""
    window = window_at(subscription.term.start, start, subscription.window_days)
    parts = [
        (meter, list(_counted(meter, window, subscription, history.get(meter.number, ()))))
        for meter in product.meters.values()
    ]
    counted = [one for _, windows in parts for one in windows]
    if not counted:
        return None
    meters = tuple(_meter(meter, window, windows) for meter, windows in parts)
    return ConsumptionSnapshot(
        subscription=subscription.id,
        product=ProductId(product.state.id),
        window_start=window.start,
        window_end=window.end,
        revision=product.state.version + sum(one.revision for one in counted),
        consumed=min(sum(meter.consumed for meter in meters), MAX_UNITS),
        meters=meters,
        as_of=max(one.as_of for one in counted),
    )


def _counted(
    meter: MeterView, window: Window, subscription: SubscriptionState, history: Iterable[Measured]
) -> Iterable[Measured]:
    """The windows that count: this one, and for a term meter those of the term before it."""
    term_start = subscription.term.start
    for one in history:
        earlier = term_start <= one.window_start < window.start
        if one.window_start == window.start or (meter.is_term and earlier):
            yield one


def _meter(meter: MeterView, window: Window, windows: Sequence[Measured]) -> MeterConsumption:
    rate = meter.state.rate_at(window.start)
    here = next((one for one in windows if one.window_start == window.start), None)
    exact = Fraction(0)
    aggregate = Decimal(0)
    for one in windows:
        then = meter.state.rate_at(one.window_start)
        exact += Fraction(one.aggregate) * then.units / then.block
        aggregate = _EXACT.add(aggregate, one.aggregate)
    return MeterConsumption(
        meter=meter.state.meter,
        aggregation=meter.state.aggregation,
        reset=meter.state.reset,
        aggregate=aggregate,
        units=rate.units,
        block=rate.block,
        rate_version=rate.version,
        consumed=min(-(-exact.numerator // exact.denominator), MAX_UNITS),
        peak_at=here.reached_at if here and meter.state.aggregation == "peak" else None,
    )
