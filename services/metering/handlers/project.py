"""The projection of allocation.events: the newest state of products and subscriptions, and what a change brings."""

from datetime import datetime
from typing import Any

from services.metering.domain.judgement import instant
from services.metering.domain.spans import change
from services.metering.domain.subscription import Subscribed, read_subscribed
from services.metering.store import consumption, moves, projection
from shared.events.allocation import ALLOCATION_EVENTS, ProductEvent, SubscriptionEvent
from shared.events.envelope import Event, Payload
from shared.events.state import ProductState, Span, SubscribedProduct, SubscriptionState
from shared.runtime.delivery.transaction import EventHandler, Transaction


async def project_subscription(tx: Transaction, event: Event[Any]) -> None:
    """Keep the subscription's state, where it is newer than what is kept; where its rates are locked since then, the
    snapshots of windows that began meanwhile are published anew. Where usage counts elsewhere than was known, what was
    placed before is moved."""
    before = await projection.find_subscription(tx.connection, event.data.subscription.id)
    after = completed(event.data.subscription, before, event.time)
    await projection.save(tx.connection, [after], [])
    if before is None or before.version >= after.version:
        return
    if new := _locks(after) - _locks(before):
        await consumption.make_locked_due(tx.connection, after.id, min(new))
    if changed := change(_read(before), _read(after)):
        await moves.note(tx.connection, after.id, instant(changed.since_us), changed, tx.now)


def completed(state: SubscriptionState, before: SubscriptionState | None, at: datetime) -> SubscriptionState:
    """With what events did not say before they had fields for it: when it was cancelled, and earlier spans of use."""
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


def _read(state: SubscriptionState) -> Subscribed:
    return read_subscribed(state.model_dump_json())


def _locks(of: SubscriptionState) -> set[datetime]:
    """When the rates of its terms were locked."""
    return {term.rates_locked_at for term in of.all_terms if term.rates_locked_at is not None}


async def project_product(tx: Transaction, event: Event[Any]) -> None:
    """Keep the product's state; a rate that holds for windows already measured has their snapshots published anew."""
    product = event.data.product
    before = await projection.find_product(tx.connection, product.id)
    await projection.save(tx.connection, [], [product])
    if before and before.version < product.version and (since := new_rates_since(before, product)):
        await consumption.make_due(tx.connection, product.id, since)


def new_rates_since(before: ProductState, after: ProductState) -> datetime | None:
    """From when on figures differ: the earliest effective date of a rate that is new to a known meter."""
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
}
"""Whatever the change was, the event brings the whole state."""
