"""Commands: what administrators ask of the services. Topics ``<service>.commands``.

The envelope's ``id`` is the command id, its ``actor`` the person. Ids of new things are chosen by the sender.
"""

from typing import Annotated, Literal

from pydantic import Field

from shared.events.envelope import Frozen, Instant, Payload
from shared.events.ids import AccountRef, MeterRef, Name, ProductRef, SubscriptionRef
from shared.events.state import Aggregation, OveragePolicy, Person, Reset, SubscriptionModel
from shared.units import PositiveUnits, Units

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


class PurchaseLot(Payload):
    """``start`` absent: now, or the term's start if that is later; ``end`` absent: the term's end."""

    event_type = "unitpool.allocation.purchase-lot.v1"
    subscription: SubscriptionRef
    lot: str = Field(min_length=1, max_length=64)
    units: PositiveUnits
    order_reference: Name
    start: Instant | None = None
    end: Instant | None = None


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


class RevokeIngestKey(Payload):
    event_type = "unitpool.metering.revoke-ingest-key.v1"
    key: str = Field(min_length=1, max_length=64)


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
)
ALERTS_COMMANDS: tuple[type[Payload], ...] = (AcknowledgeAlert, AddChannel, RemoveChannel)
METERING_COMMANDS: tuple[type[Payload], ...] = (CreateIngestKey, RevokeIngestKey)
