"""Commands: what administrators ask of the services. Topics ``<service>.commands``.

The envelope's ``id`` is the command id, its ``actor`` the person. Ids of new things are chosen by the sender.
"""

from typing import Annotated, Literal

from pydantic import Field

from shared.events.envelope import Frozen, Instant, Payload
from shared.events.ids import (
    AccountRef,
    Email,
    MeterRef,
    Name,
    PermissionRef,
    PlainName,
    ProductRef,
    RoleRef,
    SubscriptionRef,
)
from shared.events.quarantine import QuarantineWanted
from shared.events.state import (
    Aggregation,
    Grant,
    OveragePolicy,
    Permission,
    Person,
    Reset,
    RoleTemplate,
    SubscriptionModel,
    Tier,
)
from shared.units import MAX_UNITS, PositiveUnits, Units

LotRef = Annotated[str, Field(min_length=1, max_length=64)]
SourcePrefix = Annotated[str, Field(min_length=1, max_length=200)]


class CreateAccount(Payload):
    event_type = "unitpool.allocation.create-account.v1"
    account: AccountRef
    name: Name


class SetFlex(Payload):
    event_type = "unitpool.allocation.set-flex.v1"
    account: AccountRef
    enabled: bool
    reason: Name


class CreateProduct(Payload):
    """``sources`` empty: those that begin with ``/platforms/<product id>``."""

    event_type = "unitpool.allocation.create-product.v1"
    product: ProductRef
    name: Name
    sources: tuple[SourcePrefix, ...] = ()


class CreateMeter(Payload):
    """A meter with its first rate."""

    event_type = "unitpool.allocation.create-meter.v1"
    product: ProductRef
    meter: MeterRef
    name: Name
    aggregation: Aggregation
    reset: Reset = "window"
    units: PositiveUnits
    block: PositiveUnits
    effective_from: Instant | None = None


class SetRate(Payload):
    event_type = "unitpool.allocation.set-rate.v1"
    product: ProductRef
    meter: MeterRef
    units: PositiveUnits
    block: PositiveUnits
    effective_from: Instant | None = None


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


class PurchaseLot(Payload):
    """``start`` absent: now, or the term's start if that is later; ``end`` absent: the term's end."""

    event_type = "unitpool.allocation.purchase-lot.v1"
    subscription: SubscriptionRef
    lot: LotRef
    units: PositiveUnits
    order_reference: Name
    start: Instant | None = None
    end: Instant | None = None


class VoidLot(Payload):
    """A purchase was wrong: its units stop counting now. The lot stays, with the reason."""

    event_type = "unitpool.allocation.void-lot.v1"
    subscription: SubscriptionRef
    lot: LotRef
    reason: Name


class CancelSubscription(Payload):
    event_type = "unitpool.allocation.cancel-subscription.v1"
    subscription: SubscriptionRef
    reason: Name


class RenewSubscription(Payload):
    """A further term, right after the present one until ``end``, with a pool of ``units``.

    ``units``, ``order_reference`` and ``lot`` belong to a flex subscription, and only to it.
    """

    event_type = "unitpool.allocation.renew-subscription.v1"
    subscription: SubscriptionRef
    end: Instant
    units: PositiveUnits | None = None
    order_reference: Name | None = None
    lot: LotRef | None = None
    lock_rates: bool = False


class ConvertSubscription(Payload):
    """From per-product licensing to flexible units."""

    event_type = "unitpool.allocation.convert-subscription.v1"
    subscription: SubscriptionRef
    model: Literal["flex"]


class LockRates(Payload):
    """Hold the rates in force now until the term's end. A lock is not taken back: that would restate closed windows."""

    event_type = "unitpool.allocation.lock-rates.v1"
    subscription: SubscriptionRef
    locked: bool


class UnsubscribeProduct(Payload):
    """The subscription gives a product up: its units return to the pool; its history and roles stay readable."""

    event_type = "unitpool.allocation.unsubscribe-product.v1"
    subscription: SubscriptionRef
    product: ProductRef


class RetireProduct(Payload):
    """The vendor no longer offers a product: metering stops, its units return to every pool."""

    event_type = "unitpool.allocation.retire-product.v1"
    product: ProductRef


class SetRoleTemplates(Payload):
    """The permissions of a product's application, and its default roles: the whole list. Customised roles stay."""

    event_type = "unitpool.allocation.set-role-templates.v1"
    product: ProductRef
    permissions: tuple[Permission, ...] = Field(min_length=1, max_length=200)
    roles: tuple[RoleTemplate, ...] = Field(min_length=1, max_length=50)


class SetPriceList(Payload):
    """What units cost from now on. Lots that were bought keep their price."""

    event_type = "unitpool.allocation.set-price-list.v1"
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
    list_price_minor: int = Field(strict=True, ge=0, le=10**12)
    tiers: tuple[Tier, ...] = Field(min_length=1, max_length=100)


class SetPrimaryContact(Payload):
    """Hand a subscription over, in one step, to someone known in the account."""

    event_type = "unitpool.allocation.set-primary-contact.v1"
    subscription: SubscriptionRef
    email: Email


class SetGrants(Payload):
    """What someone may do with a subscription: exactly these; empty takes everything back."""

    event_type = "unitpool.allocation.set-grants.v1"
    subscription: SubscriptionRef
    email: Email
    grants: tuple[Grant, ...] = Field(max_length=4)


class AddPerson(Payload):
    event_type = "unitpool.allocation.add-person.v1"
    account: AccountRef
    email: Email
    name: PlainName


class ChangePerson(Payload):
    """What is absent stays."""

    event_type = "unitpool.allocation.change-person.v1"
    account: AccountRef
    email: Email
    name: PlainName | None = None
    enabled: bool | None = None


class RemovePerson(Payload):
    event_type = "unitpool.allocation.remove-person.v1"
    account: AccountRef
    email: Email


class CreateRole(Payload):
    """A role of the account's own in a product's application."""

    event_type = "unitpool.allocation.create-role.v1"
    account: AccountRef
    role: RoleRef
    product: ProductRef
    name: PlainName
    permissions: tuple[PermissionRef, ...] = Field(max_length=200)


class ChangeRole(Payload):
    """What is absent stays."""

    event_type = "unitpool.allocation.change-role.v1"
    account: AccountRef
    role: RoleRef
    name: PlainName | None = None
    permissions: tuple[PermissionRef, ...] | None = Field(None, max_length=200)


class ResetRole(Payload):
    """A customised default role becomes again what its template says."""

    event_type = "unitpool.allocation.reset-role.v1"
    account: AccountRef
    role: RoleRef


class SetRoleMember(Payload):
    """Give a role to someone, or take it back."""

    event_type = "unitpool.allocation.set-role-member.v1"
    account: AccountRef
    role: RoleRef
    email: Email
    member: bool


class SubscribeProduct(Payload):
    event_type = "unitpool.allocation.subscribe-product.v1"
    subscription: SubscriptionRef
    product: ProductRef


class SetPolicy(Payload):
    event_type = "unitpool.allocation.set-policy.v1"
    subscription: SubscriptionRef
    product: ProductRef
    overage: OveragePolicy


class PlannedChange(Frozen):
    """The allocation that a product shall have."""

    product: ProductRef
    units: Units


class SeenConsumption(Frozen):
    """The newest consumption that the asker was shown: the plan is decided on this or newer."""

    product: ProductRef
    window_start: Instant
    revision: int = Field(ge=1)


class ApplyPlan(Payload):
    """Change allocations in one step, or with ``preview`` say what would happen.

    ``expected_version`` is the subscription's version that the asker saw (``If-Match``).
    """

    event_type = "unitpool.allocation.apply-plan.v1"
    subscription: SubscriptionRef
    changes: tuple[PlannedChange, ...] = Field(min_length=1, max_length=1000)
    preview: bool = False
    accept_overage: bool = False
    override_reason: Name | None = None
    expected_version: int | None = None
    seen: tuple[SeenConsumption, ...] = ()


class AcknowledgeAlert(Payload):
    event_type = "unitpool.alerts.acknowledge-alert.v1"
    subscription: SubscriptionRef
    alert: str = Field(min_length=1, max_length=64)


class AddChannel(Payload):
    """Where a subscription's alerts go. ``sealed_secret`` is the signing secret, encrypted for the alerts service."""

    event_type = "unitpool.alerts.add-channel.v1"
    subscription: SubscriptionRef
    channel: str = Field(min_length=1, max_length=64)
    kind: Literal["webhook"]
    url: str = Field(min_length=1, max_length=2000)
    sealed_secret: str


class RemoveChannel(Payload):
    event_type = "unitpool.alerts.remove-channel.v1"
    subscription: SubscriptionRef
    channel: str = Field(min_length=1, max_length=64)


class CreateIngestKey(Payload):
    """``secret_sha256`` is the hash, in hex, of the key that the asker was shown once."""

    event_type = "unitpool.metering.create-ingest-key.v1"
    key: str = Field(min_length=1, max_length=64)
    product: ProductRef
    secret_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    expires_at: Instant | None = None
    events_per_second: int | None = Field(None, ge=1, le=MAX_UNITS)
    max_body_bytes: int | None = Field(None, ge=1, le=MAX_UNITS)


class RotateIngestKey(Payload):
    """A new key for the product of ``key``, with its limits; the old one is good for ``overlap_seconds`` more."""

    event_type = "unitpool.metering.rotate-ingest-key.v1"
    key: str = Field(min_length=1, max_length=64)
    new_key: str = Field(min_length=1, max_length=64)
    secret_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    overlap_seconds: int = Field(86_400, ge=0, le=31 * 86_400)
    expires_at: Instant | None = None


class RevokeIngestKey(Payload):
    event_type = "unitpool.metering.revoke-ingest-key.v1"
    key: str = Field(min_length=1, max_length=64)


class ReplayQuarantine(Payload):
    """Judge quarantined usage again, whatever its reason: all that ``wanted`` fits and is there now."""

    event_type = "unitpool.metering.replay-quarantine.v1"
    replay: str = Field(min_length=1, max_length=64)
    wanted: QuarantineWanted


ALLOCATION_COMMANDS: tuple[type[Payload], ...] = (
    CreateAccount,
    SetFlex,
    CreateProduct,
    CreateMeter,
    SetRate,
    CreateSubscription,
    PurchaseLot,
    SubscribeProduct,
    SetPolicy,
    ApplyPlan,
    VoidLot,
    CancelSubscription,
    RenewSubscription,
    ConvertSubscription,
    LockRates,
    UnsubscribeProduct,
    RetireProduct,
    SetRoleTemplates,
    SetPriceList,
    SetPrimaryContact,
    SetGrants,
    AddPerson,
    ChangePerson,
    RemovePerson,
    CreateRole,
    ChangeRole,
    ResetRole,
    SetRoleMember,
)
ALERTS_COMMANDS: tuple[type[Payload], ...] = (AcknowledgeAlert, AddChannel, RemoveChannel)
METERING_COMMANDS: tuple[type[Payload], ...] = (CreateIngestKey, RevokeIngestKey, RotateIngestKey, ReplayQuarantine)
