"""Commands on subscriptions: terms, lots, products, and the permissions on them."""

from typing import Annotated, Literal

from pydantic import Field

from shared.events.commands.accounts import Named
from shared.events.envelope import Instant, Payload
from shared.events.ids import AccountRef, Name, ProductRef, SubscriptionRef, WrittenText
from shared.events.state import Grant, OveragePolicy, Person, SubscriptionModel
from shared.units import PositiveUnits

LotRef = Annotated[str, Field(min_length=1, max_length=64)]


class CreateSubscription(Payload):
    event_type = "unitpool.allocation.create-subscription.v1"
    subscription: SubscriptionRef
    account: AccountRef
    name: Name
    model: SubscriptionModel
    start: Instant
    end: Instant
    unit_label: Name = "Units"
    primary_contact: Person
    lock_rates: bool = False


class SubscriptionCommand(Payload):
    """A command on an existing subscription.

    ``expected_version`` is the version that the requester saw (``If-Match``); if it has another, the command is refused
    as ``stale_version``.
    """

    subscription: SubscriptionRef
    expected_version: int | None = None


class RenewSubscription(SubscriptionCommand):
    """Add a term until ``end`` with a pool of ``units``.

    It begins right after the last one, or at a later ``start``.
    ``units``, ``order_reference`` and ``lot`` belong to a flex subscription, and only to it.
    """

    event_type = "unitpool.allocation.renew-subscription.v1"
    start: Instant | None = None
    end: Instant
    units: PositiveUnits | None = None
    order_reference: Name | None = None
    lot: LotRef | None = None
    lock_rates: bool = False


class CancelSubscription(SubscriptionCommand):
    event_type = "unitpool.allocation.cancel-subscription.v1"
    reason: WrittenText


class ConvertSubscription(SubscriptionCommand):
    """Move a subscription from per-product licensing to flexible units."""

    event_type = "unitpool.allocation.convert-subscription.v1"
    model: Literal["flex"]


class LockRates(SubscriptionCommand):
    """Lock the present rates until the term's end.

    A lock cannot be undone, as that would restate closed windows.
    """

    event_type = "unitpool.allocation.lock-rates.v1"
    locked: bool


class PurchaseLot(SubscriptionCommand):
    """Sell units.

    By default they count from now, or from the term's start if that is later, to the term's end.
    """

    event_type = "unitpool.allocation.purchase-lot.v1"
    lot: LotRef
    units: PositiveUnits
    order_reference: Name
    start: Instant | None = None
    end: Instant | None = None


class VoidLot(SubscriptionCommand):
    """Void a wrong purchase: its units stop counting now.

    The lot remains, with the reason.
    """

    event_type = "unitpool.allocation.void-lot.v1"
    lot: LotRef
    reason: WrittenText


class SubscribeProduct(SubscriptionCommand):
    event_type = "unitpool.allocation.subscribe-product.v1"
    product: ProductRef


class UnsubscribeProduct(SubscriptionCommand):
    """End a product of a subscription: its units return to the pool.

    History and roles remain readable.
    """

    event_type = "unitpool.allocation.unsubscribe-product.v1"
    product: ProductRef


class SetPolicy(SubscriptionCommand):
    event_type = "unitpool.allocation.set-policy.v1"
    product: ProductRef
    overage: OveragePolicy


class SetPrimaryContact(SubscriptionCommand):
    """Replace the primary contact of a subscription, in one step.

    The new one is another person of the account.
    """

    event_type = "unitpool.allocation.set-primary-contact.v1"
    person: Named = None


class SetGrants(SubscriptionCommand):
    """Set a person's permissions on a subscription to exactly these.

    An empty list revokes all.
    """

    event_type = "unitpool.allocation.set-grants.v1"
    person: Named = None
    grants: tuple[Grant, ...] = Field(max_length=4)
