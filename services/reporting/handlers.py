"""Event handlers: save states by newest version, history by event id.

Order and repeats are harmless.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from services.reporting.store.accounts import upsert_account
from services.reporting.store.alerts import upsert_alert, upsert_channel, upsert_delivery
from services.reporting.store.allocations import insert_changes, insert_end
from services.reporting.store.audit import insert_audit
from services.reporting.store.commands import insert_outcome
from services.reporting.store.consumption import upsert_snapshots
from services.reporting.store.consumption_revisions import insert_revisions
from services.reporting.store.erasures import end_sessions, find_erasure, is_confirmed, upsert_erasure
from services.reporting.store.exports import end_exports_of
from services.reporting.store.ingest_keys import upsert_ingest_key
from services.reporting.store.notifications import notify_outcome
from services.reporting.store.people import delete_person, find_people, upsert_person
from services.reporting.store.price_lists import upsert_price_list
from services.reporting.store.products import upsert_product
from services.reporting.store.quarantine import settle_record, upsert_record, upsert_replay
from services.reporting.store.reconciliation import upsert_line
from services.reporting.store.roles import upsert_role
from services.reporting.store.state_versions import insert_product_version, insert_subscription_version
from services.reporting.store.subscriptions import upsert_subscription
from services.reporting.store.usage_days import upsert_days
from shared.events.alerts import AlertAcknowledged, AlertRaised, AlertResolved, ChannelChanged, DeliverySettled
from shared.events.allocation import (
    AccountCreated,
    AccountFlexChanged,
    ErasureChanged,
    GrantsChanged,
    LifecycleChanged,
    LotEnded,
    LotPurchased,
    LotStarted,
    LotVoided,
    PersonChanged,
    PlanApplied,
    PolicyChanged,
    PoolOverAllocated,
    PriceListChanged,
    PrimaryContactChanged,
    ProductChanged,
    ProductEnded,
    ProductRetired,
    ProductSubscribed,
    RatesLocked,
    RestrictionChanged,
    RoleChanged,
    RoleTemplatesChanged,
    SubscriptionCancelled,
    SubscriptionConverted,
    SubscriptionCreated,
    SubscriptionRenewed,
    TermStarted,
)
from shared.events.daily_usage import UsageDay
from shared.events.envelope import Event, Payload
from shared.events.erasure import confirmation, object_of
from shared.events.ids import PersonId
from shared.events.metering import IngestKeyChanged
from shared.events.outcomes import (
    AlertsCommandDecided,
    AllocationCommandDecided,
    CommandDecided,
    DecisionRecorded,
    MeteringCommandDecided,
)
from shared.events.quarantine import BooksChanged, QuarantineReplayChanged, UsageQuarantined, UsageSettled
from shared.events.snapshots import Snapshot
from shared.runtime.delivery.transaction import EventHandler, Transaction

_SERVICE = "reporting"
AccountEvent = AccountCreated | AccountFlexChanged
ProductEvent = ProductChanged | ProductRetired | RoleTemplatesChanged
AlertEvent = AlertRaised | AlertAcknowledged | AlertResolved


async def save_account(tx: Transaction, event: Event[Any]) -> None:
    """Save an account's state."""
    change: AccountEvent = event.data
    await upsert_account(tx.connection, change.account)


async def save_product(tx: Transaction, event: Event[Any]) -> None:
    """Save a product's state."""
    change: ProductEvent = event.data
    await upsert_product(tx.connection, change.product)
    await insert_product_version(tx.connection, change.product, event.time)


async def save_subscription(tx: Transaction, event: Event[Any]) -> None:
    """Save the subscription's state that the event contains."""
    await _save_state(tx, event)


async def _save_state(tx: Transaction, event: Event[Any]) -> None:
    await upsert_subscription(tx.connection, event.data.subscription)
    await insert_subscription_version(tx.connection, event.data.subscription, event.time)


async def save_person(tx: Transaction, event: Event[PersonChanged]) -> None:
    """Save a person's state, and notify the request that caused it, if one did."""
    await upsert_person(tx.connection, event.data.person)
    if event.causationid is not None:
        await notify_outcome(tx.connection, event.causationid)


async def save_erasure(tx: Transaction, event: Event[ErasureChanged]) -> None:
    """Save an erasure's state."""
    await upsert_erasure(tx.connection, event.data.erasure)


async def remove_person(tx: Transaction, person: PersonId) -> None:
    """Delete an erased person, their sessions and exports, and confirm it once.

    Reading the topic again, as a rebuild does, finds nobody to delete and the confirmation in the log.
    """
    known = (await find_people(tx.connection, [person])).get(person)
    erasure = await find_erasure(tx.connection, person)
    if known is None and erasure is None:
        return
    await delete_person(tx.connection, person)
    account = known.account if known else erasure.account if erasure else None
    if known or not await is_confirmed(tx.connection, object_of(account, person), _SERVICE):
        sessions = await end_sessions(tx.connection, known.email) if known else 0
        exports = await end_exports_of(tx.connection, person, account, tx.now)
        await tx.audit(confirmation(_SERVICE, person, account, tx.now, {"sessions": sessions, "exports": exports}))


async def save_role(tx: Transaction, event: Event[RoleChanged]) -> None:
    """Save a role's state."""
    await upsert_role(tx.connection, event.data.role)


async def save_price_list(tx: Transaction, event: Event[PriceListChanged]) -> None:
    """Save the price list."""
    await upsert_price_list(tx.connection, event.data.price_list)


async def save_plan(tx: Transaction, event: Event[PlanApplied]) -> None:
    """Save a subscription's state, and the plan's changes.

    The changes become part of the history of allocations.
    """
    await insert_changes(tx.connection, event)
    await _save_state(tx, event)


async def save_end(tx: Transaction, event: Event[ProductEnded]) -> None:
    """Save a subscription's state, and the returned units in the history."""
    await insert_end(tx.connection, event)
    await _save_state(tx, event)


async def save_outcome(tx: Transaction, event: Event[Any]) -> None:
    """Save a command's outcome."""
    decided: CommandDecided = event.data
    await insert_outcome(tx.connection, decided)


async def save_alert(tx: Transaction, event: Event[Any]) -> None:
    """Save an alert's state."""
    change: AlertEvent = event.data
    await upsert_alert(tx.connection, change.alert)


async def save_channel(tx: Transaction, event: Event[ChannelChanged]) -> None:
    """Save a channel's state."""
    await upsert_channel(tx.connection, event.data.channel)


async def save_delivery(tx: Transaction, event: Event[DeliverySettled]) -> None:
    """Save a delivery's outcome."""
    await upsert_delivery(tx.connection, event.data)


async def save_ingest_key(tx: Transaction, event: Event[IngestKeyChanged]) -> None:
    """Save an ingest key's state."""
    await upsert_ingest_key(tx.connection, event.data.ingest_key)


async def save_quarantined(tx: Transaction, event: Event[UsageQuarantined]) -> None:
    """Save a record in quarantine."""
    await upsert_record(tx.connection, event.data.record)


async def save_settled(tx: Transaction, event: Event[UsageSettled]) -> None:
    """Save that a record has left the quarantine."""
    await settle_record(tx.connection, event.data)


async def save_replay(tx: Transaction, event: Event[QuarantineReplayChanged]) -> None:
    """Save a replay's progress."""
    await upsert_replay(tx.connection, event.data.replay)


async def save_books(tx: Transaction, event: Event[BooksChanged]) -> None:
    """Save a line of the books."""
    await upsert_line(tx.connection, event.data.line)


async def append_decisions(tx: Transaction, events: Sequence[Event[DecisionRecorded]]) -> None:
    """Append records to the audit log."""
    await insert_audit(tx.connection, *events)


async def save_consumption(tx: Transaction, snapshots: Sequence[Snapshot]) -> None:
    """Save snapshots of consumption, and record them as revisions."""
    if snapshots:
        await upsert_snapshots(tx.connection, snapshots)
        await insert_revisions(tx.connection, snapshots, tx.now)


async def save_days(tx: Transaction, days: Sequence[UsageDay]) -> None:
    """Save usage by day and hour."""
    if days:
        await upsert_days(tx.connection, days)


_SUBSCRIPTION_EVENTS: tuple[type[Payload], ...] = (
    SubscriptionCreated,
    LotPurchased,
    LotStarted,
    LotEnded,
    LotVoided,
    PoolOverAllocated,
    ProductSubscribed,
    PolicyChanged,
    RestrictionChanged,
    LifecycleChanged,
    RatesLocked,
    SubscriptionCancelled,
    SubscriptionConverted,
    SubscriptionRenewed,
    TermStarted,
    PrimaryContactChanged,
    GrantsChanged,
)
ALLOCATION: Mapping[type[Payload], EventHandler] = {
    AccountCreated: save_account,
    AccountFlexChanged: save_account,
    ProductChanged: save_product,
    ProductRetired: save_product,
    RoleTemplatesChanged: save_product,
    **dict.fromkeys(_SUBSCRIPTION_EVENTS, save_subscription),
    PlanApplied: save_plan,
    ProductEnded: save_end,
    RoleChanged: save_role,
    ErasureChanged: save_erasure,
    PriceListChanged: save_price_list,
    AllocationCommandDecided: save_outcome,
}
ALERTS: Mapping[type[Payload], EventHandler] = {
    AlertRaised: save_alert,
    AlertAcknowledged: save_alert,
    AlertResolved: save_alert,
    ChannelChanged: save_channel,
    DeliverySettled: save_delivery,
    AlertsCommandDecided: save_outcome,
}
METERING: Mapping[type[Payload], EventHandler] = {
    IngestKeyChanged: save_ingest_key,
    UsageQuarantined: save_quarantined,
    UsageSettled: save_settled,
    QuarantineReplayChanged: save_replay,
    BooksChanged: save_books,
    MeteringCommandDecided: save_outcome,
}
