"""The shares of a subscription at one instant.

They are measured from its state and its consumption.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import msgspec

from services.alerts.domain.rules import RuleName
from shared.consumption import USABLE_STATES
from shared.events.ids import ProductId
from shared.events.snapshots import Snapshot, SnapshotFigures
from shared.events.state import SubscriptionState
from shared.units import MAX_UNITS
from shared.windows import Window


class Reading(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The newest consumption of one product in one window.

    A subscription's readings are stored as one JSON array.
    """

    product: ProductId
    window_start: datetime
    revision: int
    consumed: int
    burned_down: int

    @classmethod
    def of(cls, snapshot: Snapshot | SnapshotFigures) -> "Reading":
        """The figures of a snapshot that alerts are assessed on."""
        return cls(
            ProductId(snapshot.product),
            snapshot.window_start,
            snapshot.revision,
            snapshot.consumed,
            snapshot.burned_down,
        )


Key = tuple[ProductId, datetime]
"""A product, and the start of a window."""

Readings = Mapping[Key, Reading]


@dataclass(frozen=True, slots=True)
class Measure:
    """One share: ``part`` of ``whole`` units, of a product or (``None``) the pool.

    ``opening`` is the part with which the window began.
    """

    rule: RuleName
    product: ProductId | None
    part: int
    whole: int
    opening: int


@dataclass(frozen=True, slots=True)
class Moment:
    """A subscription at one instant, with its current window."""

    subscription: SubscriptionState
    window: Window
    now: datetime


def is_watched(subscription: SubscriptionState) -> bool:
    """Whether alerts are raised for this subscription.

    Its model must be flex, and its pool must be usable in its state.
    """
    return subscription.model == "flex" and subscription.state in USABLE_STATES


def window_of(subscription: SubscriptionState, now: datetime) -> Window:
    """Return the subscription's window that contains ``now``."""
    return subscription.calendar.window_at(now)


def measure(moment: Moment, readings: Readings) -> tuple[Measure, ...]:
    """Measure every share of the subscription, products first.

    The result is empty if the subscription is not watched. Sums stop at the largest figure that an event carries
    (``MAX_UNITS``).
    """
    subscription = moment.subscription
    if not is_watched(subscription):
        return ()
    purchased = min(subscription.purchased(moment.now), MAX_UNITS)
    carried = _carried(readings, moment.window.start, subscription.term_at(moment.window.start).start)
    products = tuple(
        Measure("product_consumption", entry.product, part, entry.allocated, opening)
        for entry in subscription.active_products
        for opening, part in [_consumption(readings, carried, entry.product, moment.window)]
    )
    consumed = min(sum(share.part for share in products), MAX_UNITS)
    opening = min(sum(share.opening for share in products), MAX_UNITS)
    pool = Measure("pool_consumption", None, consumed, purchased, opening)
    allocated = min(subscription.allocated, MAX_UNITS)
    rules: tuple[RuleName, ...] = ("pool_allocation", "pool_over_allocated")
    return (*products, pool, *(Measure(rule, None, allocated, purchased, allocated) for rule in rules))


def next_change_at(subscription: SubscriptionState, now: datetime) -> datetime | None:
    """Return when time alone next changes a share.

    It does so when a window, lot or term begins or ends. ``None`` is returned for a subscription that is not watched.
    """
    if not is_watched(subscription):
        return None
    lots = (at for lot in subscription.lots if lot.voided_at is None for at in (lot.start, lot.end) if at > now)
    terms = (at for term in subscription.all_terms for at in (term.start, term.end) if at > now)
    # One iterable: with separate arguments ``min`` would fail if there is only the window.
    return min((window_of(subscription, now).end, *lots, *terms))


def retain_needed(readings: Readings, start: datetime) -> Readings:
    """Return the readings that are still needed.

    These are the readings of windows from ``start``, that of the current window, on, and by product the last before it.
    """
    carried = _carried(readings, start)
    return {
        key: reading for key, reading in readings.items() if key[1] >= start or carried[key[0]].window_start == key[1]
    }


def _carried(readings: Readings, before: datetime, since: datetime | None = None) -> dict[ProductId, Reading]:
    """Return by product the last reading of windows that began before ``before``.

    With ``since``, only windows that began then or later are considered.
    """
    last: dict[ProductId, Reading] = {}
    for (product, start), reading in readings.items():
        if (
            (since is None or since <= start)
            and start < before
            and (product not in last or start > last[product].window_start)
        ):
            last[product] = reading
    return last


def _consumption(
    readings: Readings, carried: Mapping[ProductId, Reading], product: ProductId, window: Window
) -> tuple[int, int]:
    """Return the units with which the window began, and those consumed now.

    Only burn-down meters continue from the window before.
    """
    opening = min(carried[product].burned_down, MAX_UNITS) if product in carried else 0
    current = readings.get((product, window.start))
    return opening, current.consumed if current else opening
