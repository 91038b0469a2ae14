"""A plain reference beside the domain: what was sold and given, and the rules again, as plainly as can be."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from shared.events.ids import ProductId
from tests.support.builders.subscriptions import END, NINETY_DAYS, START

PRODUCTS = tuple(ProductId(one) for one in ("scan", "hub", "web"))
Wanted = dict[ProductId, int]


@dataclass
class Sold:
    """Units of one order."""

    name: str
    units: int
    start: datetime
    end: datetime
    voided: bool = False


@dataclass
class ReferencePool:
    """Everything as it should be."""

    now: datetime = START
    scope: str = "subscription"
    terms: list[tuple[datetime, datetime]] = field(default_factory=lambda: [(START, END)])
    sold: list[Sold] = field(default_factory=list)
    given: dict[ProductId, int] = field(default_factory=lambda: dict.fromkeys(PRODUCTS, 0))
    """What each product that is used has."""
    hard: set[ProductId] = field(default_factory=set)
    retired: set[ProductId] = field(default_factory=set)
    cancelled: bool = False
    rebalanced: dict[str, list[tuple[datetime, bool]]] = field(default_factory=dict)

    @property
    def term(self) -> tuple[datetime, datetime]:
        """The one in force."""
        begun = [term for term in self.terms if term[0] <= self.now]
        return begun[-1] if begun else self.terms[0]

    def counting(self) -> list[Sold]:
        """What counts now; after the term, what counted at its end."""
        end = self.term[1]
        good = [one for one in self.sold if not one.voided]
        if self.now >= end:
            return [one for one in good if one.start < end <= one.end]
        return [one for one in good if one.start <= self.now < one.end]

    @property
    def purchased(self) -> int:
        """Units that count now."""
        return sum(one.units for one in self.counting())

    @property
    def allocated(self) -> int:
        """Units given, together."""
        return sum(self.given.values())

    def phase(self) -> str:
        """The state, whatever is consumed."""
        start, end = self.term
        if self.cancelled:
            return "cancelled"
        if self.now < start:
            return "pending"
        ends = [end, end + timedelta(days=30), end + timedelta(days=120)]
        return ["active", "grace", "read_only", "expired"][sum(self.now >= one for one in ends)]

    def lowered(self, wanted: Wanted) -> list[ProductId]:
        """What a plan lowers."""
        return [product for product, units in wanted.items() if units < self.given[product]]

    def counts(self, wanted: Wanted) -> bool:
        """Whether this is a rebalance that is not merely a cure."""
        total = sum({**self.given, **wanted}.values())
        over = self.allocated > self.purchased
        return bool(self.lowered(wanted)) and not (over and total >= self.purchased)

    def refuses(self, wanted: Wanted, floors: Wanted, *, accept: bool, override: bool) -> str | None:
        """Why a plan is refused."""
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
        """Carry a plan out."""
        if self.counts(wanted):
            for product in self.lowered(wanted):
                clock = product if self.scope == "product" else "all"
                self.rebalanced.setdefault(clock, []).append((self.now, override))
        self.given.update(wanted)
