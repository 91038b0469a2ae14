"""Consumption of a product, and the floor below which it cannot be allocated."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from shared import consumption
from shared.events.commands.plans import SeenConsumption
from shared.events.ids import ProductId
from shared.events.state import SubscriptionState


@dataclass(frozen=True, slots=True)
class Measured:
    """The newest snapshot that has arrived of one product in one window."""

    product: ProductId
    window_start: datetime
    window_end: datetime
    revision: int
    level: int
    burned_down: int


@dataclass(frozen=True, slots=True)
class Consumption:
    """Units that a product consumes.

    They are those of the current window (``level``), of the last closed one, and of the term to date.
    """

    level: int = 0
    last_level: int = 0
    burned_down: int = 0

    @property
    def consumed(self) -> int:
        """Units consumed, as every service shows them."""
        return consumption.consumed(self.level, self.burned_down)

    @property
    def floor(self) -> int:
        """Units below which the product cannot be allocated."""
        return consumption.floor(self.level, self.last_level, self.burned_down)


NOTHING = Consumption()
Consumptions = Mapping[ProductId, Consumption]
"""By product. A product that is missing consumes nothing."""


def consumption_at(measured: Iterable[Measured], subscription: SubscriptionState, now: datetime) -> Consumption:
    """Add up the snapshots of one product, as of ``now``."""
    return _Present.of(subscription, now).consumption(measured)


def consumptions_at(measured: Iterable[Measured], subscription: SubscriptionState, now: datetime) -> Consumptions:
    """Add up the snapshots of each product, as of ``now``."""
    present = _Present.of(subscription, now)
    by_product: dict[ProductId, list[Measured]] = defaultdict(list)
    for one in measured:
        by_product[one.product].append(one)
    return {product: present.consumption(some) for product, some in by_product.items()}


@dataclass(frozen=True, slots=True)
class _Present:
    """Starts of the windows that count at one instant, and of the term.

    They are looked up once for all products.
    """

    window: datetime
    last_window: datetime
    term: datetime

    @classmethod
    def of(cls, subscription: SubscriptionState, now: datetime) -> "_Present":
        calendar = subscription.calendar
        current = calendar.window_at(now)
        return cls(current.start, calendar.before(current).start, subscription.term_at(current.start).start)

    def consumption(self, measured: Iterable[Measured]) -> Consumption:
        """Add up the snapshots of one product."""
        level = last_level = burned_down = 0
        newest: datetime | None = None
        for one in measured:
            start = one.window_start
            if start > self.window:
                continue
            if start == self.window:
                level = one.level
            elif start == self.last_window:
                last_level = one.level
            if newest is None or newest < start:
                newest, burned_down = start, one.burned_down
        in_term = newest is not None and newest >= self.term
        return Consumption(level, last_level, burned_down if in_term else 0)


def is_behind(
    seen: Sequence[SeenConsumption], measured: Iterable[Measured], subscription: SubscriptionState, now: datetime
) -> bool:
    """Whether the requester was shown newer consumption than has arrived.

    Only windows that count are compared.
    """
    calendar = subscription.calendar
    oldest = calendar.before(calendar.window_at(now)).start
    have = {(one.product, one.window_start): one.revision for one in measured}
    return any(
        have.get((one.product, one.window_start), 0) < one.revision for one in seen if one.window_start >= oldest
    )
