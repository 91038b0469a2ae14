"""The projection of allocation.events: the newest state of products and subscriptions, and what a change brings."""

from datetime import datetime
from typing import Any

from services.metering.store import consumption, projection
from shared.events.allocation import ALLOCATION_EVENTS
from shared.events.envelope import Event, Frozen, Payload
from shared.events.state import ProductState, SubscriptionState
from shared.runtime.delivery import EventHandler, Transaction


async def project_subscription(tx: Transaction, event: Event[Any]) -> None:
    """Keep the subscription's state, where it is newer than what is kept; where its rates are locked since then, the
    snapshots of windows that began meanwhile are published anew."""
    after: SubscriptionState = event.data.subscription
    before = await projection.find_subscription(tx.connection, after.id) if _locks(after) else None
    await projection.save(tx.connection, [after], [])
    if before and before.version < after.version and (new := _locks(after) - _locks(before)):
        await consumption.make_locked_due(tx.connection, after.id, min(new))


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


def _that_carry(field: str, state: type[Frozen]) -> list[type[Payload]]:
    """Whatever the change was, the event brings the whole state."""
    return [
        one for one in ALLOCATION_EVENTS if field in one.model_fields and one.model_fields[field].annotation is state
    ]


HANDLERS: dict[type[Payload], EventHandler] = {
    **dict.fromkeys(_that_carry("subscription", SubscriptionState), project_subscription),
    **dict.fromkeys(_that_carry("product", ProductState), project_product),
}
