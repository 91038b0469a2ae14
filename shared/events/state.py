"""State that events carry whole, so that a reader needs no earlier event: accounts, products, subscriptions.

A reader keeps the state with the highest ``version`` per id and ignores the rest. History is kept by event id.
"""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from shared.events.envelope import Frozen, Instant
from shared.events.ids import AccountRef, Email, LotId, MeterRef, Name, ProductRef, SubscriptionRef
from shared.units import PositiveUnits, Units

Version = Annotated[int, Field(ge=1)]
Aggregation = Literal["sum", "count", "peak", "unique", "latest"]
Reset = Literal["window", "term"]
OveragePolicy = Literal["soft", "reserve", "hard"]
SubscriptionModel = Literal["flex", "per_product"]
Lifecycle = Literal["pending", "active", "exhausted", "grace", "read_only", "expired", "cancelled"]
Grant = Literal["viewer", "allocator", "auditor", "useradmin"]
RebalanceScope = Literal["subscription", "product"]


class AccountState(Frozen):
    """A customer organisation."""

    id: AccountRef
    name: Name
    flex_enabled: bool
    version: Version


class Rate(Frozen):
    """``units`` pool units per ``block`` metered things, from ``effective_from`` until the next rate of the meter."""

    version: Version
    units: PositiveUnits
    block: PositiveUnits
    effective_from: Instant


class Meter(Frozen):
    """What a product measures. ``rates`` are in order of ``effective_from``; the first also holds before its date."""

    meter: MeterRef
    name: Name
    aggregation: Aggregation
    reset: Reset
    rates: tuple[Rate, ...] = Field(min_length=1)

    def rate_at(self, at: datetime) -> Rate:
        """The rate in force at ``at``."""
        in_force = [rate for rate in self.rates if rate.effective_from <= at]
        return in_force[-1] if in_force else self.rates[0]


class ProductState(Frozen):
    """One product of the catalogue. ``sources``: prefixes of the CloudEvents sources that may report for it."""

    id: ProductRef
    name: Name
    sources: tuple[str, ...]
    meters: tuple[Meter, ...]
    retired_at: Instant | None = None
    version: Version


class Person(Frozen):
    """Someone, known by their e-mail."""

    email: Email
    name: Name


class GrantedTo(Frozen):
    """A grant that the primary contact gave to a delegate."""

    email: Email
    grant: Grant


class Term(Frozen):
    """``start`` inclusive, ``end`` exclusive."""

    start: Instant
    end: Instant


class Lot(Frozen):
    """Units bought in one order, valid from ``start`` until ``end``."""

    id: LotId
    units: PositiveUnits
    start: Instant
    end: Instant
    order_reference: str
    purchased_at: Instant
    voided_at: Instant | None = None


class SubscribedProduct(Frozen):
    """A product that the subscription uses, and what it was given."""

    product: ProductRef
    allocated: Units
    policy: OveragePolicy = "soft"
    restricted: bool = False
    subscribed_at: Instant
    last_lowered_at: Instant | None = None


class RebalanceClock(Frozen):
    """When allocations were last lowered, and when they next may be (``None``: now)."""

    every_days: int = Field(ge=0)
    scope: RebalanceScope = "subscription"
    last_at: Instant | None = None
    next_allowed_at: Instant | None = None


class SubscriptionState(Frozen):
    """A subscription, whole: what a reader needs to know of it."""

    id: SubscriptionRef
    account: AccountRef
    name: Name
    model: SubscriptionModel
    state: Lifecycle
    unit_label: Name = "Units"
    term: Term
    window_days: int = Field(ge=1, le=366)
    primary_contact: Person
    grants: tuple[GrantedTo, ...] = ()
    lots: tuple[Lot, ...] = ()
    products: tuple[SubscribedProduct, ...] = ()
    rebalance: RebalanceClock
    version: Version

    def purchased(self, now: datetime) -> int:
        """Units of the lots that are valid at ``now``."""
        return sum(lot.units for lot in self.lots if lot.start <= now < lot.end and lot.voided_at is None)

    @property
    def allocated(self) -> int:
        """Units given to products, together."""
        return sum(product.allocated for product in self.products)
