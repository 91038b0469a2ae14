"""State that events carry whole, so that a reader needs no earlier event.

It is the state of accounts, their people and roles, products, subscriptions and the price list.

A reader stores the state with the highest ``version`` per id and ignores others. History is stored by event id.
"""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from shared.events.envelope import Frozen, Instant
from shared.events.ids import (
    AccountRef,
    Email,
    LotId,
    MeterRef,
    Name,
    PermissionRef,
    PersonRef,
    ProductRef,
    RoleRef,
    SubscriptionRef,
    TextKey,
    WrittenText,
)
from shared.units import PositiveUnits, Units
from shared.windows import Calendar

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
    """A rate: ``units`` pool units per ``block`` metered things.

    It is in force from ``effective_from`` to the meter's next rate.
    """

    version: Version
    units: PositiveUnits
    block: PositiveUnits
    effective_from: Instant


class Meter(Frozen):
    """A measured amount of a product.

    ``rates`` are in order of ``effective_from``; the first also holds before it.
    """

    meter: MeterRef
    name: Name
    aggregation: Aggregation
    reset: Reset
    rates: tuple[Rate, ...] = Field(min_length=1)

    def rate_at(self, at: datetime) -> Rate:
        """The rate in force at ``at``."""
        in_force = [rate for rate in self.rates if rate.effective_from <= at]
        return in_force[-1] if in_force else self.rates[0]


class Permission(Frozen):
    """A permission in a product's application.

    Page and API access are separate permissions.
    """

    id: PermissionRef
    category: Name
    description: Name


class RoleTemplate(Frozen):
    """A default role of a product. ``summary`` is one line."""

    role: RoleRef
    name: Name
    summary: Name
    permissions: tuple[PermissionRef, ...]


class ProductState(Frozen):
    """One product of the catalogue.

    ``sources``: the CloudEvents sources that may report for it, each with all that follow it after a ``/``.

    ``roles_version`` grows whenever ``permissions`` or ``roles`` (its default roles) change.
    """

    id: ProductRef
    name: Name
    sources: tuple[str, ...]
    meters: tuple[Meter, ...]
    retired_at: Instant | None = None
    permissions: tuple[Permission, ...] = ()
    roles: tuple[RoleTemplate, ...] = ()
    roles_version: int = Field(0, ge=0)
    version: Version


class Person(Frozen):
    """Address and name of a person who may be new to an account."""

    email: Email
    name: Name


class PersonState(Frozen):
    """A person of an account, or one who acts without belonging to one.

    The latter have no ``account``. One who is disabled or removed has no permissions; the history remains.

    ``id`` never changes, whatever becomes of address and name. The same address in two accounts is two persons.
    ``text_key`` seals what the person writes, and what is recorded of their address and name. ``erase_at``: when they
    will be erased.
    """

    id: PersonRef
    account: AccountRef | None = None
    email: Email
    name: Name
    text_key: TextKey = Field(repr=False)
    enabled: bool = True
    removed_at: Instant | None = None
    erase_at: Instant | None = None
    version: Version

    @property
    def is_active(self) -> bool:
        """Whether roles and grants may be given to them."""
        return self.enabled and self.removed_at is None and self.erase_at is None


class RoleState(Frozen):
    """A role in one product's application, as one account has it.

    ``customised`` are its own permissions; ``None``: those of the product's template of that ``role``, whatever these
    become. ``based_on`` is the template's version when the role was customised. A role without a template
    (``is_default`` false) is the account's own, and always customised.
    """

    account: AccountRef
    role: RoleRef
    product: ProductRef
    name: Name
    is_default: bool
    customised: tuple[PermissionRef, ...] | None = None
    based_on: int | None = None
    members: tuple[PersonRef, ...] = ()
    version: Version


class GrantedTo(Frozen):
    """A grant that the primary contact gave to a delegate."""

    person: PersonRef
    grant: Grant


class Term(Frozen):
    """A term: ``start`` inclusive, ``end`` exclusive.

    Rates in force at ``rates_locked_at`` hold until the end.
    """

    start: Instant
    end: Instant
    rates_locked_at: Instant | None = None


class Tier(Frozen):
    """A discount from ``from_units`` units in the term on.

    It is in basis points: hundredths of a percent.
    """

    from_units: Units
    discount_basis_points: int = Field(ge=0, le=10_000)


class PriceList(Frozen):
    """The price list.

    Money is in integer minor units of ``currency`` (ISO 4217). Tiers are in order, the first at 0.
    ``list_price_minor`` is per unit and year.
    """

    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
    list_price_minor: int = Field(ge=0, le=10**12)
    tiers: tuple[Tier, ...] = Field(min_length=1, max_length=100)
    version: Version


class Price(Frozen):
    """The price of some units, with its arithmetic.

    It is in integer minor units of ``currency``.

    ``total_minor`` = units x ``unit_price_minor`` (per unit and year) x years, rounded half up once; ``years`` is an
    exact fraction, written ``"1"`` or ``"73/365"``.
    """

    currency: str
    price_list_version: int
    list_price_minor: int
    tier_from_units: int
    discount_basis_points: int
    unit_price_minor: int
    years: str
    total_minor: int


class Lot(Frozen):
    """Units bought in one order, valid from ``start`` until ``end``.

    A wrong purchase is voided, never removed.
    """

    id: LotId
    units: PositiveUnits
    start: Instant
    end: Instant
    order_reference: str
    purchased_at: Instant
    voided_at: Instant | None = None
    void_reason: WrittenText | None = None
    price: Price | None = None


class Span(Frozen):
    """A past span of use: ``start`` inclusive, ``end`` exclusive."""

    start: Instant
    end: Instant


class SubscribedProduct(Frozen):
    """A product that the subscription uses or used, with its allocation.

    It is used from ``subscribed_at`` until ``ended_at``; ``earlier`` are the spans of use before that, in order.
    ``over_since``: since when it consumes more than 110% of its allocation; after 45 days it is ``restricted``.
    """

    product: ProductRef
    allocated: Units
    policy: OveragePolicy = "soft"
    restricted: bool = False
    subscribed_at: Instant
    last_lowered_at: Instant | None = None
    ended_at: Instant | None = None
    over_since: Instant | None = None
    earlier: tuple[Span, ...] = ()


class RebalanceClock(Frozen):
    """When allocations were last lowered, and when they next may be (``None``: now)."""

    every_days: int = Field(ge=0)
    scope: RebalanceScope = "subscription"
    last_at: Instant | None = None
    next_allowed_at: Instant | None = None


class SubscriptionState(Frozen):
    """The whole state of a subscription.

    ``term`` is the one in force when this was published (the first before it begins); ``terms`` are all, in order,
    with a renewal that has not begun. ``products`` holds those that have ended too. From ``cancelled_at`` on no usage
    counts.
    """

    id: SubscriptionRef
    account: AccountRef
    name: Name
    model: SubscriptionModel
    state: Lifecycle
    unit_label: Name = "Units"
    term: Term
    terms: tuple[Term, ...] = ()
    window_days: int = Field(ge=1, le=366)
    primary_contact: PersonRef
    grants: tuple[GrantedTo, ...] = ()
    lots: tuple[Lot, ...] = ()
    products: tuple[SubscribedProduct, ...] = ()
    rebalance: RebalanceClock
    cancelled_at: Instant | None = None
    version: Version

    @property
    def all_terms(self) -> tuple[Term, ...]:
        """All terms, also of an early event that has only ``term``."""
        return self.terms or (self.term,)

    def term_at(self, now: datetime) -> Term:
        """Return the term in force.

        This is the last one that has begun, also when it is over; before all of them it is the first.
        """
        begun = [term for term in self.all_terms if term.start <= now]
        return begun[-1] if begun else self.all_terms[0]

    @property
    def calendar(self) -> Calendar:
        """The measurement windows of all terms."""
        return Calendar(tuple(term.start for term in self.all_terms), self.window_days)

    @property
    def active_products(self) -> tuple[SubscribedProduct, ...]:
        """The products that have not ended."""
        return tuple(product for product in self.products if product.ended_at is None)

    def lots_at(self, now: datetime) -> tuple[Lot, ...]:
        """Return the lots that count at ``now``.

        Those that count at a term's end do so until the next term begins.
        """
        term = self.term_at(now)
        over = now >= term.end
        return tuple(
            lot
            for lot in self.lots
            if lot.voided_at is None and (lot.start < term.end <= lot.end if over else lot.start <= now < lot.end)
        )

    def purchased(self, now: datetime) -> int:
        """Units of the lots that count at ``now``."""
        return sum(lot.units for lot in self.lots_at(now))

    @property
    def allocated(self) -> int:
        """Sum of the allocations, in units."""
        return sum(product.allocated for product in self.products)

    def rate_of(self, meter: Meter, window_start: datetime) -> Rate:
        """Return the rate of ``meter`` in the window that begins at ``window_start``.

        It is the one in force then, or the one that the term locked.
        """
        locked_at = self.term_at(window_start).rates_locked_at
        return meter.rate_at(window_start if locked_at is None else min(window_start, locked_at))
