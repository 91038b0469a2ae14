"""The arithmetic of a subscription's overview: from its state and its snapshots to the figures that a person sees.

- ``consumed`` of a product: the level of the current window (0 while it has no snapshot) and the term to date of the
  meters that burn down, which the newest snapshot of the term carries on.
- ``floor``: the larger level of the current and the last closed window, and the term to date.
- ``unallocated`` and ``over_allocated`` are never negative; ``unused`` is, where more is consumed than allocated.
- ``drawn``: what products with the policy ``reserve`` consume beyond their allocations, in the products' order, capped
  by what is unallocated. The rest is overage. ``unallocated`` is before it, as plans are decided on that.
- Products that have ended are left out; their history stays.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Self

from services.reporting.domain.classes import CLOSED_WINDOWS, ClosedWindow, utilisation_class
from shared.events.metering import MeterConsumption
from shared.events.state import Meter, ProductState, Rate, SubscribedProduct, SubscriptionState, Term
from shared.pricing import product_costs
from shared.units import MAX_UNITS, percent_tenths
from shared.windows import Window, days_left

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


@dataclass(frozen=True, slots=True)
class CurrentTerm:
    """A subscription at an instant: its term and window then."""

    subscription: SubscriptionState
    term: Term
    window: Window

    @classmethod
    def of(cls, subscription: SubscriptionState, now: datetime) -> Self:
        """The term and window that hold ``now``."""
        return cls(subscription, subscription.term_at(now), current_window(subscription, now))

    def burned_before(self, windows: Sequence[WindowFigures], window: Window) -> int:
        """The term to date just before a window."""
        since = self.subscription.term_at(window.start).start
        return max((one.burned_down for one in windows if since <= one.window_start < window.start), default=0)


def current_window(subscription: SubscriptionState, now: datetime) -> Window:
    """The window that holds ``now``; before the term begins, its first."""
    return subscription.calendar.window_at(max(now, subscription.all_terms[0].start))


def snapshots_from(subscription: SubscriptionState, window: Window) -> datetime:
    """From when on snapshots matter to the overview: the term's start, and the closed windows that it looks back on."""
    start = subscription.term_at(window.start).start
    for _ in range(CLOSED_WINDOWS):
        window = subscription.calendar.before(window)
    return min(start, window.start)


def overview(
    subscription: SubscriptionState,
    catalogue: Mapping[str, ProductState],
    consumption: Mapping[str, Sequence[WindowFigures]],
    now: datetime,
) -> Body:
    """The body of ``GET /v1/subscriptions/{id}``. ``consumption`` by product, each in order of time."""
    term = CurrentTerm.of(subscription, now)
    window = term.window
    products = [
        product_figures(product, catalogue.get(product.product), consumption.get(product.product, ()), term)
        for product in subscription.active_products
    ]
    purchased, allocated = subscription.purchased(now), subscription.allocated
    consumed = sum(product.consumed for product in products)
    drawn = _draw(products, max(0, purchased - allocated))
    _price(products, subscription, now)
    return {
        "id": subscription.id,
        "account": subscription.account,
        "name": subscription.name,
        "model": subscription.model,
        "state": subscription.state,
        "unit_label": subscription.unit_label,
        "version": subscription.version,
        "term": _span(term.term.start, term.term.end, now),
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
        "drawn": drawn,
        "rates_locked_at": term.term.rates_locked_at,
        "renewal": _renewal(subscription, now),
    }


def _draw(products: Sequence[ProductFigures], unallocated: int) -> int:
    """Notes in each product what it draws on units that no product has; all of it together."""
    left = unallocated
    for product in products:
        over = max(0, product.consumed - product.allocated) if product.body["policy"] == "reserve" else 0
        product.body["drawn"] = min(over, left)
        left -= product.body["drawn"]
    return unallocated - left


def _price(products: Sequence[ProductFigures], subscription: SubscriptionState, now: datetime) -> None:
    """Notes in each product its share of what was paid, where all units that count have a price."""
    consumed = {str(product.body["product"]): product.consumed for product in products}
    costs = {cost.product: cost for cost in product_costs(subscription, consumed, now) or ()}
    for product in products:
        if cost := costs.get(product.body["product"]):
            product.body["cost"] = cost.model_dump(exclude={"product"})


def _renewal(subscription: SubscriptionState, now: datetime) -> Body | None:
    """The term that was sold and has not begun, if any, with the units that will count then."""
    waiting = next((term for term in subscription.all_terms if term.start > now), None)
    if waiting is None or waiting == subscription.all_terms[0]:
        return None
    units = subscription.purchased(waiting.start)
    carries_over = units >= subscription.allocated
    return {"start": waiting.start, "end": waiting.end, "units": units, "carries_over": carries_over}


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
    product: SubscribedProduct, known: ProductState | None, windows: Sequence[WindowFigures], current: CurrentTerm
) -> ProductFigures:
    """One product's figures. ``windows`` end with the current one where it has a snapshot."""
    window = current.window
    newest = windows[-1] if windows and windows[-1].window_start >= current.term.start else None
    by_start = {one.window_start: one for one in windows}
    here, before = by_start.get(window.start), by_start.get(current.subscription.calendar.before(window).start)
    level, last_level = here.level if here else 0, before.level if before else 0
    burned = newest.burned_down if newest else 0
    consumed = min(level + burned, MAX_UNITS)
    closed = _closed(product, by_start, windows, current)
    burns_down = any(meter.reset == "term" for meter in (known.meters if known else ()))
    used_now = here is not None and (here.level > 0 or here.burned_down > current.burned_before(windows, window))
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
        "meters": _meters(known.meters if known else (), newest, here, current),
        "drawn": 0,
        "cost": None,
    }
    return ProductFigures(body, product.allocated, consumed, newest.as_of if newest else None)


def _closed(
    product: SubscribedProduct,
    by_start: Mapping[datetime, WindowFigures],
    windows: Sequence[WindowFigures],
    current: CurrentTerm,
) -> list[ClosedWindow]:
    closed: list[ClosedWindow] = []
    window = current.window
    for _ in range(CLOSED_WINDOWS):
        window = current.subscription.calendar.before(window)
        if window.start < product.subscribed_at:
            break
        burned_before = current.burned_before(windows, window)
        one = by_start.get(window.start)
        if one is None:
            closed.append(ClosedWindow(consumed=burned_before, used=False))
        else:
            used = one.level > 0 or one.burned_down > burned_before
            closed.append(ClosedWindow(consumed=one.level + one.burned_down, used=used))
    return closed


def _meters(
    meters: Sequence[Meter], newest: WindowFigures | None, here: WindowFigures | None, current: CurrentTerm
) -> list[Body]:
    """Each meter with its arithmetic: what was measured, or nothing yet at the rate in force."""
    measured = {one.meter: one for one in newest.meters} if newest else {}
    shown = []
    for meter in meters:
        one = measured.pop(meter.meter, None)
        if one is not None and (here is newest or one.reset == "term"):
            shown.append(_measured(one))
        else:
            rate = current.subscription.rate_of(meter, current.window.start)
            shown.append(_unmeasured(meter, rate))
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


def _unmeasured(meter: Meter, rate: Rate) -> Body:
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
