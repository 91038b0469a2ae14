"""The projection of allocation.events, kept up to date.

The newest states are saved, and the snapshots and moves that a change requires become due.
"""

from datetime import datetime
from typing import Any

from services.metering.domain.judgement import instant
from services.metering.domain.spans import change
from services.metering.domain.subscription import Subscription, read_subscription
from services.metering.store import consumption, moves, projection
from shared.events.allocation import ALLOCATION_EVENTS, ErasureChanged, ProductEvent, SubscriptionEvent
from shared.events.envelope import Event, Payload
from shared.events.erasure import confirmation
from shared.events.state import ProductState, Span, SubscribedProduct, SubscriptionState
from shared.runtime.delivery.transaction import EventHandler, Transaction


async def project_subscription(tx: Transaction, event: Event[Any]) -> None:
    """Save a subscription's state if it is newer than the stored one.

    Newly locked rates make the snapshots of windows since the lock due. A change of where usage counts makes a move of
    already placed usage due.
    """
    before = await projection.find_subscription(tx.connection, event.data.subscription.id)
    after = fill_missing_fields(event.data.subscription, before, event.time)
    await projection.save(tx.connection, [after], [])
    if before is None or before.version >= after.version:
        return
    if new := _locks(after) - _locks(before):
        await consumption.insert_due_of_locked_rates(tx.connection, after.id, min(new))
    if changed := change(_read(before), _read(after)):
        await moves.insert_due(tx.connection, after.id, instant(changed.since_us), changed, tx.now)


def fill_missing_fields(state: SubscriptionState, before: SubscriptionState | None, at: datetime) -> SubscriptionState:
    """Fill fields that older events lack.

    These are the time of cancellation, and earlier spans of use.
    """
    products = {one.product: one for one in before.products} if before else {}
    changes: dict[str, Any] = {
        "products": tuple(_with_earlier(one, products.get(one.product)) for one in state.products)
    }
    if state.state == "cancelled" and state.cancelled_at is None:
        changes["cancelled_at"] = (before.cancelled_at if before else None) or at
    return state.model_copy(update=changes)


def _with_earlier(use: SubscribedProduct, before: SubscribedProduct | None) -> SubscribedProduct:
    if use.earlier or before is None:
        return use
    earlier = before.earlier
    if before.ended_at is not None and use.subscribed_at != before.subscribed_at:
        earlier = (*earlier, Span(start=before.subscribed_at, end=before.ended_at))
    return use.model_copy(update={"earlier": earlier})


def _read(state: SubscriptionState) -> Subscription:
    return read_subscription(state.model_dump_json())


def _locks(of: SubscriptionState) -> set[datetime]:
    """The times at which rates of its terms were locked."""
    return {term.rates_locked_at for term in of.all_terms if term.rates_locked_at is not None}


async def project_product(tx: Transaction, event: Event[Any]) -> None:
    """Save a product's state.

    A rate that is new for measured windows makes their snapshots due.
    """
    product = event.data.product
    before = await projection.find_product(tx.connection, product.id)
    await projection.save(tx.connection, [], [product])
    if before and before.version < product.version and (since := new_rates_since(before, product)):
        await consumption.insert_due_of_product(tx.connection, product.id, since)


async def confirm_erasure(tx: Transaction, event: Event[ErasureChanged]) -> None:
    """Confirm that a person is erased: ingest keys and replays name people by id only."""
    erasure = event.data.erasure
    if erasure.erased_at is not None:
        await tx.audit(confirmation("metering", erasure.person, erasure.account, tx.now, {}))


def new_rates_since(before: ProductState, after: ProductState) -> datetime | None:
    """Return the earliest effective time of a known meter's new rates.

    ``None`` is returned if there are no new rates.
    """
    known = {(meter.meter, rate.version) for meter in before.meters for rate in meter.rates}
    meters = {meter.meter for meter in before.meters}
    new = [
        rate.effective_from
        for meter in after.meters
        for rate in meter.rates
        if meter.meter in meters and (meter.meter, rate.version) not in known
    ]
    return min(new, default=None)


HANDLERS: dict[type[Payload], EventHandler] = {
    **{one: project_subscription for one in ALLOCATION_EVENTS if issubclass(one, SubscriptionEvent)},
    **{one: project_product for one in ALLOCATION_EVENTS if issubclass(one, ProductEvent)},
    ErasureChanged: confirm_erasure,
}
"""The handler of each event type.

Every event carries the whole state, so one handler serves all types of a kind.
"""
