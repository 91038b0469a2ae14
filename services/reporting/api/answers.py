"""What the API answers."""

from datetime import datetime
from typing import Any, Literal

from pydantic import ConfigDict, Field

from services.reporting.api.examples import OVERVIEW
from services.reporting.api.fields import Shown
from services.reporting.domain.classes import UtilisationClass
from shared.events.alerts import AlertLifecycle, AlertScope, Severity
from shared.events.state import Aggregation, Lifecycle, OveragePolicy, Reset, SubscriptionModel


class Problem(Shown):
    """RFC 9457, with a stable ``code``; a code's numbers are members beside it."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "examples": [
                {
                    "type": "urn:unitpool:problem:insufficient_units",
                    "title": "Refused",
                    "status": 409,
                    "detail": "300 units are wanted and 120 are unallocated.",
                    "code": "insufficient_units",
                    "purchased": 1000,
                    "allocated": 880,
                    "requested": 300,
                    "available": 120,
                }
            ]
        },
    )
    type: str
    title: str
    status: int
    detail: str
    code: str


class Permitted(Shown):
    id: str
    account: str
    name: str
    role: str
    permissions: list[str]


class Me(Shown):
    email: str
    name: str
    vendor: bool
    subscriptions: list[Permitted]


class Commanded(Shown):
    """``command_id`` is there in the answer to a write."""

    command_id: str | None = None


class Account(Commanded):
    id: str
    name: str
    flex_enabled: bool
    version: int


class RateShown(Shown):
    version: int
    units: int
    block: int
    effective_from: datetime


class MeterOfProduct(Shown):
    meter: str
    name: str
    aggregation: Aggregation
    reset: Reset
    rates: list[RateShown]


class Product(Commanded):
    id: str
    name: str
    sources: list[str]
    meters: list[MeterOfProduct]
    retired_at: datetime | None
    version: int


class Span(Shown):
    start: datetime
    end: datetime
    days_left: int


class RebalanceClock(Shown):
    """``next_allowed_at`` null: now, as far as the clock is concerned."""

    allowed: bool
    next_allowed_at: datetime | None
    every_days: int
    last_at: datetime | None


class Meter(Shown):
    meter: str
    aggregation: Aggregation
    reset: Reset
    aggregate: int | str
    units: int
    block: int
    rate_version: int
    consumed: int
    peak_at: datetime | None
    provisional: bool


class ProductUse(Shown):
    product: str
    name: str
    allocated: int
    consumed: int
    unused: int
    utilisation: float | None
    klass: UtilisationClass | None = Field(alias="class")
    policy: OveragePolicy
    restricted: bool
    floor: int
    meters: list[Meter]


class Overview(Commanded):
    """A subscription. Its ``version`` is the ETag, for ``If-Match`` on plans."""

    model_config = ConfigDict(json_schema_extra={"examples": [OVERVIEW]})
    id: str
    account: str
    name: str
    model: SubscriptionModel
    state: Lifecycle
    unit_label: str
    version: int
    term: Span
    window: Span
    purchased: int
    allocated: int
    consumed: int
    unallocated: int
    unused: int
    over_allocated: int
    as_of: datetime | None
    rebalance: RebalanceClock
    products: list[ProductUse]


class ContactShown(Shown):
    email: str
    name: str


class SubscriptionInList(Shown):
    id: str
    account: str
    name: str
    model: SubscriptionModel
    state: Lifecycle
    unit_label: str
    version: int
    term: Span
    primary_contact: ContactShown
    purchased: int
    allocated: int


class Lot(Shown):
    id: str
    units: int
    start: datetime
    end: datetime
    order_reference: str
    purchased_at: datetime
    voided_at: datetime | None
    valid: bool


class AllocationChange(Shown):
    product: str
    before: int
    after: int
    at: datetime
    actor: str | None
    kind: Literal["allocation", "rebalance"]
    reason: str | None
    starts_clock: bool
    version: int


class UsageItem(Shown):
    product: str
    meter: str
    start: datetime
    end: datetime
    aggregate: int | str
    consumed: int
    provisional: bool
    revision: int


class Alert(Commanded):
    id: str
    rule: str
    scope: AlertScope
    product: str | None
    severity: Severity
    threshold: int
    value_at: float
    value_now: float | None
    raised_at: datetime
    state: AlertLifecycle
    acknowledged_by: str | None
    acknowledged_at: datetime | None
    message: str
    actions: list[str]


class Channel(Commanded):
    """``secret`` is in the answer that makes it, and nowhere else."""

    id: str
    kind: Literal["webhook"]
    url: str
    created_by: str
    created_at: datetime
    secret: str | None = None


class IngestKey(Commanded):
    """``key`` is in the answer that makes it, and nowhere else."""

    id: str
    product: str
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None
    version: int
    key: str | None = None


class Share(Shown):
    product: str
    allocated: int
    consumed: int


class Preview(Commanded):
    model_config = ConfigDict(extra="allow")
    preview: Literal[True] = True
    allowed: bool = True
    before: list[Share]
    after: list[Share]
    unallocated_after: int
    starts_clock: bool
    next_allowed_at: datetime | None


class Command(Shown):
    command_id: str
    command: str
    subscription: str | None
    sent_at: datetime
    status: Literal["pending", "accepted", "refused"]
    decided_at: datetime | None
    resource: str | None
    version: int | None
    result: dict[str, Any] | None
    refusal: dict[str, Any] | None


class AuditEntry(Shown):
    sequence: int
    at: datetime
    account: str
    subscription: str | None
    actor: str
    address: str | None
    action: str
    object: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    outcome: Literal["allowed", "denied"]
    reason: str | None
    correlation_id: str | None


class Pending(Shown):
    """No outcome came in time: ask ``Location``."""

    command_id: str
    status: Literal["pending"]


class Accounts(Shown):
    items: list[Account]
    next_cursor: str | None


class Products(Shown):
    items: list[Product]
    next_cursor: str | None


class Meters(Shown):
    items: list[MeterOfProduct]
    next_cursor: str | None = None


class RateOfMeter(RateShown):
    meter: str


class Rates(Shown):
    items: list[RateOfMeter]
    next_cursor: str | None = None


class Subscriptions(Shown):
    items: list[SubscriptionInList]
    next_cursor: str | None


class Lots(Shown):
    items: list[Lot]
    next_cursor: str | None = None


class AllocationChanges(Shown):
    items: list[AllocationChange]
    next_cursor: str | None


class Usage(Shown):
    items: list[UsageItem]
    next_cursor: str | None = None


class Alerts(Shown):
    items: list[Alert]
    next_cursor: str | None


class Channels(Shown):
    items: list[Channel]
    next_cursor: str | None


class IngestKeys(Shown):
    items: list[IngestKey]
    next_cursor: str | None


class AuditEntries(Shown):
    items: list[AuditEntry]
    next_cursor: str | None
