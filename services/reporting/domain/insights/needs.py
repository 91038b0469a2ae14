"""What each product is expected to need, and what it may therefore give or get.

- The need is the highest upper edge of the forecast until units can next be moved, and at least the floor. Without a
  range it is the median; where it is too early to say, the floor.
- A product may give units if the rebalance clock lets it be lowered, and only by closed windows: three since it was
  subscribed to. It keeps 5 % more than it needs, and than it consumed in any of them.
- While the pool is over-allocated, every product may be lowered, since that cures it, and none may be raised. If the
  excess cannot be taken so carefully, everything above the floor may be taken.
- A retired product gets no units.

Whether the clock lets a product be lowered is allocation's rule; a test compares this with it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from services.reporting.domain.insights.evidence import ClosedWindowUse
from services.reporting.domain.insights.forecasts import ScopeForecast
from services.reporting.domain.insights.paths import highest
from services.reporting.domain.insights.proposal import Candidate
from services.reporting.domain.overview import Overview, ProductOverview
from services.reporting.domain.utilisation_classes import CLOSED_WINDOWS
from shared.events.state import SubscribedProduct, SubscriptionState
from shared.units import MAX_UNITS

KEPT_PERCENT: Final = 105


@dataclass(frozen=True, slots=True)
class Present:
    """A subscription now, and what is known of its products.

    ``closed``: their last closed windows; ``forecasts``: by product; ``retired``: products of the catalogue that get no
    units.
    """

    subscription: SubscriptionState
    overview: Overview
    closed: Mapping[str, Sequence[ClosedWindowUse]]
    forecasts: Mapping[str, ScopeForecast]
    retired: frozenset[str]
    flex_enabled: bool
    now: datetime

    @property
    def until(self) -> datetime:
        """When units can next be moved after a rebalance now, at most the term's end."""
        clock, term = self.subscription.rebalance, self.subscription.term_at(self.now)
        waiting = self.overview.rebalance.next_allowed_at
        until = waiting or self.now + timedelta(days=clock.every_days)
        return max(self.now, min(until, term.end))


def candidates(present: Present, *, careful: bool = True) -> list[Candidate]:
    """Return what each product in use may have. Not ``careful``: down to the floor."""
    states = {str(one.product): one for one in present.subscription.active_products}
    return [_candidate(present, one, states[one.product], careful=careful) for one in present.overview.products]


def _candidate(present: Present, product: ProductOverview, state: SubscribedProduct, *, careful: bool) -> Candidate:
    is_over_allocated = present.overview.over_allocated > 0
    need = need_of(product, present.forecasts.get(product.product), present.until)
    may_be_lowered = is_over_allocated or can_be_lowered(present.subscription, state, present.now)
    least = _kept(product, need, present.closed[product.product]) if careful else product.floor
    may_be_raised = not is_over_allocated and product.product not in present.retired
    return Candidate(
        product.product,
        product.allocated,
        need,
        min(product.allocated, least) if may_be_lowered else product.allocated,
        MAX_UNITS if may_be_raised else product.allocated,
    )


def need_of(product: ProductOverview, forecast: ScopeForecast | None, until: datetime) -> int:
    """Return the units that a product is expected to need until an instant."""
    path = forecast.path if forecast else ()
    upper = highest(path, "high", until)
    return max(product.floor, (highest(path, "median", until) if upper is None else upper) or 0)


def can_be_lowered(subscription: SubscriptionState, product: SubscribedProduct, now: datetime) -> bool:
    """Whether the rebalance clock lets a product be lowered."""
    clock = subscription.rebalance
    last = clock.last_at if clock.scope == "subscription" else product.last_lowered_at
    return last is None or last + timedelta(days=clock.every_days) <= now


def _kept(product: ProductOverview, need: int, closed: Sequence[ClosedWindowUse]) -> int:
    """Return the units that a product keeps when it gives some."""
    if len(closed) < CLOSED_WINDOWS:
        return product.allocated
    largest = max(need, *(one.consumed for one in closed))
    return max(product.floor, -(-largest * KEPT_PERCENT // 100))
