"""The arithmetic of a subscription's overview: from its state and its snapshots to the figures that a person sees.

- ``consumed`` of a product: the level of the current window (0 while it has no snapshot) and the term to date of the
  meters that burn down, which the newest snapshot of the term carries on.
- ``floor``: the larger level of the current and the last closed window, and the term to date.
- ``unallocated`` and ``over_allocated`` are never negative; ``unused`` is, where more is consumed than allocated.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from services.reporting.domain.classes import CLOSED_WINDOWS, ClosedWindow, utilisation_class
from shared.events.metering import MeterConsumption
from shared.events.state import Meter, ProductState, SubscribedProduct, SubscriptionState
from shared.units import MAX_UNITS, percent_tenths
from shared.windows import Window, days_left, window_at

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class WindowFigures:
    """What one product consumed in one window. ``meters`` are needed of the newest only."""

    window_start: datetime
    revision: int
    level: int
    burned_down: int
    as_of: datetime
    meters: tuple[MeterConsumption, ...] = ()


@dataclass(frozen=True, slots=True)
class ProductFigures:
    """One product's part of the overview."""

    body: Body
    allocated: int
    consumed: int
    as_of: datetime | None


def current_window(subscription: SubscriptionState, now: datetime) -> Window:
    """The window that holds ``now``; before the term begins, its first."""
    start = subscription.term.start
    return window_at(start, max(now, start), subscription.window_days)


def term_from(subscription: SubscriptionState, window: Window) -> datetime:
    """From when on snapshots matter to the overview: the term's start."""
    return min(subscription.term.start, window.start)


def overview(
    subscription: SubscriptionState,
    catalogue: Mapping[str, ProductState],
    consumption: Mapping[str, Sequence[WindowFigures]],
    now: datetime,
) -> Body:
    """The body of ``GET /v1/subscriptions/{id}``. ``consumption`` by product, each in order of time."""
    window = current_window(subscription, now)
    products = [
        product_figures(product, catalogue.get(product.product), consumption.get(product.product, ()), window)
        for product in subscription.products
    ]
    purchased, allocated = subscription.purchased(now), subscription.allocated
    consumed = sum(product.consumed for product in products)
    return {
        "id": subscription.id,
        "account": subscription.account,
        "name": subscription.name,
        "model": subscription.model,
        "state": subscription.state,
        "unit_label": subscription.unit_label,
        "version": subscription.version,
        "term": _span(subscription.term.start, subscription.term.end, now),
        "window": _span(window.start, window.end, now),
        "purchased": purchased,
        "allocated": allocated,
        "consumed": consumed,
        "unallocated": max(0, purchased - allocated),
        "unused": allocated - consumed,
        "over_allocated": max(0, allocated - purchased),
        "as_of": max((product.as_of for product in products if product.as_of), default=None),
        "rebalance": rebalance(subscription, now),
        "products": [product.body for product in products],
    }


def rebalance(subscription: SubscriptionState, now: datetime) -> Body:
    """Whether allocations may be lowered now, and when they next may be (``None``: now)."""
    clock = subscription.rebalance
    waiting = clock.next_allowed_at is not None and clock.next_allowed_at > now
    active = subscription.model == "flex" and subscription.state in {"active", "exhausted", "grace"}
    return {
        "allowed": active and not waiting,
        "next_allowed_at": clock.next_allowed_at if waiting else None,
        "every_days": clock.every_days,
        "last_at": clock.last_at,
    }


def product_figures(
    product: SubscribedProduct, known: ProductState | None, windows: Sequence[WindowFigures], window: Window
) -> ProductFigures:
    """One product's figures. ``windows`` end with the current one where it has a snapshot."""
    newest = windows[-1] if windows else None
    by_start = {one.window_start: one for one in windows}
    here, before = by_start.get(window.start), by_start.get(window.previous().start)
    level, last_level = here.level if here else 0, before.level if before else 0
    burned = newest.burned_down if newest else 0
    consumed = min(level + burned, MAX_UNITS)
    closed = _closed(product, by_start, windows, window)
    burns_down = any(meter.reset == "term" for meter in (known.meters if known else ()))
    used_now = here is not None and (here.level > 0 or here.burned_down > _burned_before(windows, window.start))
    tenths = percent_tenths(consumed, product.allocated)
    body = {
        "product": product.product,
        "name": known.name if known else product.product,
        "allocated": product.allocated,
        "consumed": consumed,
        "unused": product.allocated - consumed,
        "utilisation": None if tenths is None else tenths / 10,
        "class": utilisation_class(product.allocated, consumed, closed, burns_down=burns_down, used_now=used_now),
        "policy": product.policy,
        "restricted": product.restricted,
        "floor": min(max(level, last_level) + burned, MAX_UNITS),
        "meters": _meters(known.meters if known else (), newest, here, window),
    }
    return ProductFigures(body, product.allocated, consumed, newest.as_of if newest else None)


def _closed(
    product: SubscribedProduct,
    by_start: Mapping[datetime, WindowFigures],
    windows: Sequence[WindowFigures],
    window: Window,
) -> list[ClosedWindow]:
    closed: list[ClosedWindow] = []
    for _ in range(CLOSED_WINDOWS):
        window = window.previous()
        if window.start < product.subscribed_at:
            break
        burned_before = _burned_before(windows, window.start)
        one = by_start.get(window.start)
        if one is None:
            closed.append(ClosedWindow(consumed=burned_before, used=False))
        else:
            used = one.level > 0 or one.burned_down > burned_before
            closed.append(ClosedWindow(consumed=one.level + one.burned_down, used=used))
    return closed


def _burned_before(windows: Sequence[WindowFigures], start: datetime) -> int:
    """The term to date just before a window."""
    return max((one.burned_down for one in windows if one.window_start < start), default=0)


def _meters(
    meters: Sequence[Meter], newest: WindowFigures | None, here: WindowFigures | None, window: Window
) -> list[Body]:
    """Each meter with its arithmetic: what was measured, or nothing yet at the rate in force."""
    measured = {one.meter: one for one in newest.meters} if newest else {}
    shown = []
    for meter in meters:
        one = measured.pop(meter.meter, None)
        if one is not None and (here is newest or one.reset == "term"):
            shown.append(_measured(one))
        else:
            shown.append(_unmeasured(meter, window))
    return shown + ([_measured(one) for one in measured.values()] if here is newest else [])


def _measured(one: MeterConsumption) -> Body:
    return {
        "meter": one.meter,
        "aggregation": one.aggregation,
        "reset": one.reset,
        "aggregate": quantity(one.aggregate),
        "units": one.units,
        "block": one.block,
        "rate_version": one.rate_version,
        "consumed": one.consumed,
        "peak_at": one.peak_at,
        "provisional": True,
    }


def _unmeasured(meter: Meter, window: Window) -> Body:
    rate = meter.rate_at(window.start)
    return {
        "meter": meter.meter,
        "aggregation": meter.aggregation,
        "reset": meter.reset,
        "aggregate": 0,
        "units": rate.units,
        "block": rate.block,
        "rate_version": rate.version,
        "consumed": 0,
        "peak_at": None,
        "provisional": True,
    }


def quantity(exact: Decimal) -> int | str:
    """An exact aggregate for JSON: an integer where it is one that every reader holds, else a decimal string."""
    if exact == exact.to_integral_value() and exact <= MAX_UNITS:
        return int(exact)
    text = f"{exact:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _span(start: datetime, end: datetime, now: datetime) -> Body:
    return {"start": start, "end": end, "days_left": days_left(end, now)}
