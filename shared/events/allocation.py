"""Events of allocation, on the topic ``allocation.events``.

They are about accounts and roles, the catalogue and prices, subscriptions, lots and plans. People have a topic of their
own, ``allocation.people``.
"""

from typing import Literal

from pydantic import Field

from shared.events.envelope import Frozen, Payload
from shared.events.erasure import ErasureState
from shared.events.ids import LotId, PersonRef, ProductRef
from shared.events.outcomes import AllocationCommandDecided
from shared.events.state import (
    AccountState,
    Lifecycle,
    Lot,
    OveragePolicy,
    PersonState,
    PriceList,
    ProductState,
    RoleState,
    SubscriptionState,
    Term,
)
from shared.units import PositiveUnits, Units


class SubscriptionEvent(Payload):
    """An event that carries the whole state of a subscription."""

    subscription: SubscriptionState


class ProductEvent(Payload):
    """An event that carries the whole state of a product of the catalogue."""

    product: ProductState


class AccountCreated(Payload):
    event_type = "unitpool.allocation.account.created.v1"
    account: AccountState


class AccountFlexChanged(Payload):
    """The vendor enabled or disabled the flex feature for an account."""

    event_type = "unitpool.allocation.account.flex-changed.v1"
    account: AccountState
    reason: str


class ProductChanged(ProductEvent):
    """A product, a meter or a rate was added to the catalogue."""

    event_type = "unitpool.allocation.product.changed.v1"
    change: Literal["created", "meter_added", "rate_added"]


class SubscriptionCreated(SubscriptionEvent):
    event_type = "unitpool.allocation.subscription.created.v1"


class LotPurchased(SubscriptionEvent):
    event_type = "unitpool.allocation.lot.purchased.v1"
    lot: Lot


class ProductSubscribed(SubscriptionEvent):
    event_type = "unitpool.allocation.product.subscribed.v1"
    product: ProductRef


class PolicyChanged(SubscriptionEvent):
    event_type = "unitpool.allocation.policy.changed.v1"
    product: ProductRef
    before: OveragePolicy
    after: OveragePolicy


class AllocationChange(Frozen):
    """One product's allocation before and after a plan."""

    product: ProductRef
    before: Units
    after: Units


class PlanApplied(SubscriptionEvent):
    """Allocations changed, in one step.

    ``kind`` is ``rebalance`` when any was lowered.
    ``starts_clock``: the next rebalance must wait for the interval of the subscription's rebalance clock.
    """

    event_type = "unitpool.allocation.plan.applied.v1"
    kind: Literal["allocation", "rebalance"]
    changes: tuple[AllocationChange, ...] = Field(min_length=1)
    starts_clock: bool
    accept_overage: bool = False
    override_reason: str | None = None


class LotStarted(SubscriptionEvent):
    """A lot that was bought earlier begins to count."""

    event_type = "unitpool.allocation.lot.started.v1"
    lot: LotId


class LotEnded(SubscriptionEvent):
    """A lot no longer counts."""

    event_type = "unitpool.allocation.lot.ended.v1"
    lot: LotId


class LotVoided(SubscriptionEvent):
    """A wrong purchase was voided."""

    event_type = "unitpool.allocation.lot.voided.v1"
    lot: LotId
    reason: str


class PoolOverAllocated(SubscriptionEvent):
    """The pool has shrunk below the allocated units: critical.

    Allocations are unchanged; until they fit the pool again, they can only be lowered.
    """

    event_type = "unitpool.allocation.pool.over-allocated.v1"
    purchased: Units
    allocated: Units
    excess: PositiveUnits


class LifecycleChanged(SubscriptionEvent):
    """The subscription's state changed, by time or by consumption."""

    event_type = "unitpool.allocation.subscription.lifecycle-changed.v1"
    before: Lifecycle
    after: Lifecycle


class SubscriptionCancelled(SubscriptionEvent):
    event_type = "unitpool.allocation.subscription.cancelled.v1"
    reason: str


class SubscriptionRenewed(SubscriptionEvent):
    """Another term was sold. It begins automatically."""

    event_type = "unitpool.allocation.subscription.renewed.v1"
    term: Term
    lot: Lot | None = None


class TermStarted(SubscriptionEvent):
    """A renewed term has begun.

    ``carried_over``: the new pool is large enough for the allocations.
    Otherwise it is over-allocated until the primary contact has chosen what to lower.
    """

    event_type = "unitpool.allocation.term.started.v1"
    carried_over: bool


class SubscriptionConverted(SubscriptionEvent):
    """The subscription moved from per-product licensing to flexible units."""

    event_type = "unitpool.allocation.subscription.converted.v1"


class RatesLocked(SubscriptionEvent):
    """The rates in force at that time hold until the term's end."""

    event_type = "unitpool.allocation.rates.locked.v1"
    locked: bool


class ProductEnded(SubscriptionEvent):
    """The subscription no longer uses a product.

    ``returned`` units went back to the pool.
    """

    event_type = "unitpool.allocation.product.ended.v1"
    product: ProductRef
    because: Literal["unsubscribed", "retired"]
    returned: Units


class ProductRetired(ProductEvent):
    """The vendor no longer offers a product."""

    event_type = "unitpool.allocation.product.retired.v1"


class RoleTemplatesChanged(ProductEvent):
    """A product's permissions and default roles have changed."""

    event_type = "unitpool.allocation.role-templates.changed.v1"


class RestrictionChanged(SubscriptionEvent):
    """A product became restricted, or is no longer restricted.

    It is restricted when it was far above its allocation for too long.
    """

    event_type = "unitpool.allocation.restriction.changed.v1"
    product: ProductRef
    restricted: bool


class PriceListChanged(Payload):
    event_type = "unitpool.allocation.price-list.changed.v1"
    price_list: PriceList


class PrimaryContactChanged(SubscriptionEvent):
    """Another person is the primary contact. ``before``: the former one."""

    event_type = "unitpool.allocation.primary-contact.changed.v1"
    before: PersonRef


class GrantsChanged(SubscriptionEvent):
    """The permissions of ``person`` on the subscription changed."""

    event_type = "unitpool.allocation.grants.changed.v1"
    person: PersonRef


class PersonChanged(Payload):
    """A person was added to an account, changed or removed.

    It is published on the topic ``allocation.people``.
    """

    event_type = "unitpool.allocation.person.changed.v1"
    person: PersonState


class ErasureChanged(Payload):
    """The erasure of a person was requested, or carried out."""

    event_type = "unitpool.allocation.person.erasure-changed.v1"
    erasure: ErasureState


class RoleChanged(Payload):
    """A role of an account was created, changed, reset, granted or revoked."""

    event_type = "unitpool.allocation.role.changed.v1"
    role: RoleState


ALLOCATION_EVENTS: tuple[type[Payload], ...] = (
    AccountCreated,
    AccountFlexChanged,
    ProductChanged,
    SubscriptionCreated,
    LotPurchased,
    ProductSubscribed,
    PolicyChanged,
    PlanApplied,
    LotStarted,
    LotEnded,
    LotVoided,
    PoolOverAllocated,
    LifecycleChanged,
    SubscriptionCancelled,
    SubscriptionRenewed,
    TermStarted,
    SubscriptionConverted,
    RatesLocked,
    ProductEnded,
    ProductRetired,
    RoleTemplatesChanged,
    RestrictionChanged,
    PriceListChanged,
    PrimaryContactChanged,
    GrantsChanged,
    ErasureChanged,
    RoleChanged,
    AllocationCommandDecided,
)
PEOPLE_EVENTS: tuple[type[Payload], ...] = (PersonChanged,)
