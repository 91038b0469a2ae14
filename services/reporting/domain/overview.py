"""The overview of a subscription: the figures that people see, as frozen values.

``subscription_overview`` computes them, and explains the fields. The API, the page and alerts read them.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from services.reporting.domain.utilisation_classes import UtilisationClass
from shared.events.state import Aggregation, Lifecycle, OveragePolicy, Reset, SubscriptionModel
from shared.pricing import ProductCost


@dataclass(frozen=True, slots=True)
class Period:
    """A term or a window: ``start`` inclusive, ``end`` exclusive.

    ``days_left`` until it ends; 0: it has ended.
    """

    start: datetime
    end: datetime
    days_left: int


@dataclass(frozen=True, slots=True)
class RebalanceClock:
    """Whether allocations may be lowered now.

    ``next_allowed_at`` ``None``: the clock is not running.
    """

    allowed: bool
    next_allowed_at: datetime | None
    every_days: int
    last_at: datetime | None


@dataclass(frozen=True, slots=True)
class Renewal:
    """A term that was sold and has not begun, with the ``units`` that will count then.

    ``carries_over``: they suffice for today's allocations.
    """

    start: datetime
    end: datetime
    units: int
    carries_over: bool


@dataclass(frozen=True, slots=True)
class MeterArithmetic:
    """A meter's arithmetic: ``units`` per ``block`` of ``aggregate`` are ``consumed``."""

    meter: str
    aggregation: Aggregation
    reset: Reset
    aggregate: Decimal
    units: int
    block: int
    rate_version: int
    consumed: int
    peak_at: datetime | None
    provisional: bool


@dataclass(frozen=True, slots=True)
class ProductOverview:
    """One product.

    ``utilisation``: percent of its allocation, with one decimal; ``None`` without an allocation.
    """

    product: str
    name: str
    allocated: int
    consumed: int
    unused: int
    utilisation: float | None
    utilisation_class: UtilisationClass | None
    policy: OveragePolicy
    restricted: bool
    floor: int
    meters: tuple[MeterArithmetic, ...]
    drawn: int
    cost: ProductCost | None


@dataclass(frozen=True, slots=True)
class Overview:
    """A subscription.

    ``as_of``: until when its usage is counted; ``None`` before the first measurement.
    """

    id: str
    account: str
    name: str
    model: SubscriptionModel
    state: Lifecycle
    unit_label: str
    version: int
    term: Period
    window: Period
    purchased: int
    allocated: int
    consumed: int
    unallocated: int
    unused: int
    over_allocated: int
    as_of: datetime | None
    rebalance: RebalanceClock
    products: tuple[ProductOverview, ...]
    drawn: int
    rates_locked_at: datetime | None
    renewal: Renewal | None

    def product(self, product: str | None) -> ProductOverview | None:
        """Return one of its products; ``None`` if it has no such product."""
        return next((one for one in self.products if one.product == product), None)
