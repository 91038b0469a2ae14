"""Commands on the catalogue."""

from typing import Any, Literal

from services.allocation.domain import catalogue
from services.allocation.domain.permissions import Action, refusal_for, roles_of
from services.allocation.handlers.context import Context, actor_of
from services.allocation.handlers.publishing import publish
from services.allocation.store.catalogue import (
    insert_meter,
    insert_product,
    insert_rate,
    lock_product,
    replace_templates,
    update_product,
)
from services.allocation.store.due import mark_users_of
from services.allocation.store.roles import find_templates_elsewhere
from shared.events.allocation import ProductChanged, ProductRetired
from shared.events.commands.catalogue import CreateMeter, CreateProduct, RetireProduct, SetRate
from shared.events.envelope import Event
from shared.events.ids import ProductId
from shared.events.refusals import Refusal
from shared.events.state import ProductState
from shared.runtime.commands.decisions import Decision
from shared.runtime.delivery.transaction import Transaction


async def create_product(tx: Transaction, command: Event[CreateProduct]) -> Decision:
    """Create a product."""
    context = Context("create-product", f"product/{command.data.product}")
    if refusal := _denied("create-product", command):
        return context.refused(refusal)
    product = catalogue.create_product(command.data)
    taken = await find_templates_elsewhere(tx.connection, [one.role for one in product.roles], product.id)
    if taken:
        role, other = next(iter(taken.items()))
        return context.refused(Refusal.invalid(("product", f"its role {role!r} is one of the product {other!r}")))
    if not await insert_product(tx.connection, product):
        return context.refused(Refusal.already_exists("product", product.id))
    await replace_templates(tx.connection, product)
    return await _changed(tx, context, None, product, "created")


async def create_meter(tx: Transaction, command: Event[CreateMeter]) -> Decision:
    """Add a meter to a product, with its first rate."""
    asked = command.data
    context = Context("create-meter", f"product/{asked.product}/meter/{asked.meter}")
    before = await _found("create-meter", tx, command, asked.product)
    if isinstance(before, Refusal):
        return context.refused(before)
    after = catalogue.add_meter(before, asked, tx.now)
    if isinstance(after, Refusal):
        return context.refused(after)
    await insert_meter(tx.connection, after, after.meters[-1])
    return await _changed(tx, context, before, after, "meter_added")


async def set_rate(tx: Transaction, command: Event[SetRate]) -> Decision:
    """Add a rate to a meter, from its date on."""
    asked = command.data
    context = Context("set-rate", f"product/{asked.product}/meter/{asked.meter}")
    before = await _found("set-rate", tx, command, asked.product)
    if isinstance(before, Refusal):
        return context.refused(before)
    after = catalogue.add_rate(before, asked, tx.now)
    if isinstance(after, Refusal):
        return context.refused(after)
    await insert_rate(tx.connection, after, next(one for one in after.meters if one.meter == asked.meter))
    return await _changed(tx, context, before, after, "rate_added")


async def retire_product(tx: Transaction, command: Event[RetireProduct]) -> Decision:
    """No longer offer a product. Each subscription that uses it gets its units back by itself, very soon."""
    context = Context("retire-product", f"product/{command.data.product}")
    before = await _found("retire-product", tx, command, command.data.product)
    if isinstance(before, Refusal):
        return context.refused(before)
    after = catalogue.retire(before, tx.now)
    if after is not before:
        await update_product(tx.connection, after)
        await mark_users_of(tx.connection, after.id, tx.now)
        await publish(tx, after.id, ProductRetired(product=after))
    return context.accepted(
        after.id,
        after.version,
        before=before.model_dump(mode="json", include={"retired_at"}),
        after=after.model_dump(mode="json", include={"retired_at"}),
    )


def _denied(action: Action, command: Event[Any]) -> Refusal | None:
    return refusal_for(action, roles_of(actor_of(command), None), what="product")


async def _found(action: Action, tx: Transaction, command: Event[Any], product: ProductId) -> ProductState | Refusal:
    """The product, locked, for someone who may."""
    if refusal := _denied(action, command):
        return refusal
    return await lock_product(tx.connection, product) or Refusal.not_found("product")


async def _changed(
    tx: Transaction,
    context: Context,
    before: ProductState | None,
    after: ProductState,
    change: Literal["created", "meter_added", "rate_added"],
) -> Decision:
    await publish(tx, after.id, ProductChanged(product=after, change=change))
    return context.accepted(
        after.id,
        after.version,
        before=before.model_dump(mode="json") if before else None,
        after=after.model_dump(mode="json"),
    )
