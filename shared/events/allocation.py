"""Events of allocation: accounts, catalogue, subscriptions, lots, plans. Topic ``allocation.events``."""

from typing import Literal

from pydantic import Field

from shared.events.envelope import Frozen, Payload
from shared.events.ids import ProductRef
from shared.events.outcomes import AllocationCommandDecided
from shared.events.state import AccountState, Lot, OveragePolicy, ProductState, SubscriptionState
from shared.units import Units


class AccountCreated(Payload):
    event_type = "unitpool.allocation.account.created.v1"
    account: AccountState


class AccountFlexChanged(Payload):
    """The vendor enabled or disabled the flex feature for an account."""

    event_type = "unitpool.allocation.account.flex-changed.v1"
    account: AccountState
    reason: str


class ProductChanged(Payload):
    """A product, a meter or a rate was added to the catalogue."""

    event_type = "unitpool.allocation.product.changed.v1"
    product: ProductState
    change: Literal["created", "meter_added", "rate_added"]


class SubscriptionCreated(Payload):
    event_type = "unitpool.allocation.subscription.created.v1"
    subscription: SubscriptionState


class LotPurchased(Payload):
    event_type = "unitpool.allocation.lot.purchased.v1"
    subscription: SubscriptionState
    lot: Lot


class ProductSubscribed(Payload):
    event_type = "unitpool.allocation.product.subscribed.v1"
    subscription: SubscriptionState
    product: ProductRef


class PolicyChanged(Payload):
    event_type = "unitpool.allocation.policy.changed.v1"
    subscription: SubscriptionState
    product: ProductRef
    before: OveragePolicy
    after: OveragePolicy


class AllocationChange(Frozen):
    """One product's allocation before and after a plan."""

    product: ProductRef
    before: Units
    after: Units


class PlanApplied(Payload):
    """Allocations changed, in one step. ``kind`` is ``rebalance`` when any was lowered."""

    event_type = "unitpool.allocation.plan.applied.v1"
    subscription: SubscriptionState
    kind: Literal["allocation", "rebalance"]
    changes: tuple[AllocationChange, ...] = Field(min_length=1)
    starts_clock: bool
    accept_overage: bool = False
    override_reason: str | None = None


ALLOCATION_EVENTS: tuple[type[Payload], ...] = (
    AccountCreated,
    AccountFlexChanged,
    ProductChanged,
    SubscriptionCreated,
    LotPurchased,
    ProductSubscribed,
    PolicyChanged,
    PlanApplied,
    AllocationCommandDecided,
)
