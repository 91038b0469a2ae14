"""A simple reference of the pool and of plans, independent of the domain."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from shared.events.ids import ProductId
from tests.support.builders.subscriptions import END, NINETY_DAYS, START

PRODUCTS = tuple(ProductId(one) for one in ("scan", "hub", "web"))
Wanted = dict[ProductId, int]


@dataclass
class Sold:
    """One lot."""

    name: str
    units: int
    start: datetime
    end: datetime
    voided: bool = False


@dataclass
class ReferencePool:
    """The expected lots, allocations and clocks of one subscription."""

    now: datetime = START
    scope: str = "subscription"
    terms: list[tuple[datetime, datetime]] = field(default_factory=lambda: [(START, END)])
    sold: list[Sold] = field(default_factory=list)
    given: dict[ProductId, int] = field(default_factory=lambda: dict.fromkeys(PRODUCTS, 0))
    """Allocated units of each subscribed product."""
    hard: set[ProductId] = field(default_factory=set)
    retired: set[ProductId] = field(default_factory=set)
    cancelled: bool = False
    rebalanced: dict[str, list[tuple[datetime, bool]]] = field(default_factory=dict)

    @property
    def term(self) -> tuple[datetime, datetime]:
        """Start and end of the present term."""
        begun = [term for term in self.terms if term[0] <= self.now]
        return begun[-1] if begun else self.terms[0]

    def counting(self) -> list[Sold]:
        """The lots that count now; after the term, those that counted at its end."""
        end = self.term[1]
        good = [one for one in self.sold if not one.voided]
        if self.now >= end:
            return [one for one in good if one.start < end <= one.end]
        return [one for one in good if one.start <= self.now < one.end]

    @property
    def purchased(self) -> int:
        """Sum of the units that count now."""
        return sum(one.units for one in self.counting())

    @property
    def allocated(self) -> int:
        """Sum of the allocations."""
        return sum(self.given.values())

    def phase(self) -> str:
        """The subscription's state, without regard to consumption."""
        start, end = self.term
        if self.cancelled:
            return "cancelled"
        if self.now < start:
            return "pending"
        ends = [end, end + timedelta(days=30), end + timedelta(days=120)]
        return ["active", "grace", "read_only", "expired"][sum(self.now >= one for one in ends)]

    def lowered(self, wanted: Wanted) -> list[ProductId]:
        """The products that a plan lowers."""
        return [product for product, units in wanted.items() if units < self.given[product]]

    def counts(self, wanted: Wanted) -> bool:
        """Whether a plan starts the rebalance clock.

        It does if it lowers a product and does more than end an over-allocation.
        """
        total = sum({**self.given, **wanted}.values())
        over = self.allocated > self.purchased
        return bool(self.lowered(wanted)) and not (over and total >= self.purchased)

    def refuses(self, wanted: Wanted, floors: Wanted, *, accept: bool, override: bool) -> str | None:
        """The code that a plan is refused with; None if it is accepted."""
        if self.phase() not in ("active", "grace"):
            return "subscription_not_active"
        if any(product not in self.given for product in wanted):
            return "product_not_subscribed"
        after, have = {**self.given, **wanted}, self.purchased
        raised = any(after[product] > self.given[product] for product in after)
        too_low = [one for one in self.lowered(wanted) if wanted[one] < floors.get(one, 0)]
        clocks = self.lowered(wanted) if self.scope == "product" else ["all"]
        times = [at for clock in clocks for at, _ in self.rebalanced.get(clock, [])]
        rules = {
            "invalid_request": after == self.given,
            "over_allocated": self.allocated > have and raised,
            "insufficient_units": self.allocated <= have < sum(after.values()),
            "below_consumption": any(not accept or one in self.hard for one in too_low),
            "rebalance_too_soon": self.counts(wanted)
            and not override
            and any(self.now < at + NINETY_DAYS for at in times),
        }
        return next((code for code, broken in rules.items() if broken), None)

    def apply(self, wanted: Wanted, *, override: bool) -> None:
        """Apply a plan."""
        if self.counts(wanted):
            for product in self.lowered(wanted):
                clock = product if self.scope == "product" else "all"
                self.rebalanced.setdefault(clock, []).append((self.now, override))
        self.given.update(wanted)
