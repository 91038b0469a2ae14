"""What a product consumes, as a floor under its allocation."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from shared.events.commands.plans import SeenConsumption
from shared.events.ids import ProductId
from shared.events.state import SubscriptionState


@dataclass(frozen=True, slots=True)
class Measured:
    """The newest snapshot of one product in one window, as far as it has arrived."""

    product: ProductId
    window_start: datetime
    window_end: datetime
    revision: int
    level: int
    burned_down: int


@dataclass(frozen=True, slots=True)
class Consumption:
    """What a product consumes. ``level``: the current window's; ``last_level``: the last closed window's."""

    level: int = 0
    last_level: int = 0
    burned_down: int = 0

    @property
    def consumed(self) -> int:
        """The figure that everybody shows."""
        return self.level + self.burned_down

    @property
    def floor(self) -> int:
        """The larger window, so that a new window does not open a gap, and the term to date."""
        return max(self.level, self.last_level) + self.burned_down


NOTHING = Consumption()
Consumptions = Mapping[ProductId, Consumption]
"""By product. What is not there consumes nothing."""


def consumption_at(measured: Iterable[Measured], subscription: SubscriptionState, now: datetime) -> Consumption:
    """One product's consumption at ``now``."""
    current = subscription.calendar.window_at(now)
    term = subscription.term_at(current.start)
    begun = sorted((one for one in measured if one.window_start <= current.start), key=lambda one: one.window_start)
    levels = {one.window_start: one.level for one in begun}
    return Consumption(
        level=levels.get(current.start, 0),
        last_level=levels.get(subscription.calendar.before(current).start, 0),
        burned_down=begun[-1].burned_down if begun and begun[-1].window_start >= term.start else 0,
    )


def consumptions_at(measured: Iterable[Measured], subscription: SubscriptionState, now: datetime) -> Consumptions:
    """What each product consumes at ``now``."""
    by_product: dict[ProductId, list[Measured]] = defaultdict(list)
    for one in measured:
        by_product[one.product].append(one)
    return {product: consumption_at(some, subscription, now) for product, some in by_product.items()}


def is_behind(
    seen: Sequence[SeenConsumption], measured: Iterable[Measured], subscription: SubscriptionState, now: datetime
) -> bool:
    """Whether the asker was shown a newer consumption than has arrived here. Only windows that count are looked at."""
    calendar = subscription.calendar
    oldest = calendar.before(calendar.window_at(now)).start
    have = {(one.product, one.window_start): one.revision for one in measured}
    return any(
        have.get((one.product, one.window_start), 0) < one.revision for one in seen if one.window_start >= oldest
    )
