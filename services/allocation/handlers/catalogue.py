"""Commands on the catalogue."""

from typing import Literal

from services.allocation.domain import catalogue
from services.allocation.handlers.context import Context
from services.allocation.handlers.preconditions import by_vendor, on_product
from services.allocation.handlers.publishing import publish
from services.allocation.store.catalogue import (
    insert_meter,
    insert_product,
    insert_rate,
    replace_templates,
    update_product,
)
from services.allocation.store.due_work import mark_users_of
from services.allocation.store.roles import find_templates_elsewhere
from shared.events.allocation import ProductChanged, ProductRetired
from shared.events.commands.catalogue import CreateMeter, CreateProduct, RetireProduct, SetRate
from shared.events.envelope import Event
from shared.events.refusals import Refusal
from shared.events.state import ProductState
from shared.runtime.commands.decisions import Decision
from shared.runtime.delivery.transaction import Transaction


def _product_object(command: CreateProduct | RetireProduct) -> str:
    return f"product/{command.product}"


def _meter_object(command: CreateMeter | SetRate) -> str:
    return f"product/{command.product}/meter/{command.meter}"


@by_vendor("create-product", _product_object, what="product")
async def create_product(tx: Transaction, command: Event[CreateProduct], context: Context) -> Decision:
    """Create a product."""
    product = catalogue.create_product(command.data)
    taken = await find_templates_elsewhere(tx.connection, [one.role for one in product.roles], product.id)
    if taken:
        role, other = next(iter(taken.items()))
        return context.refused(Refusal.invalid(("product", f"its role {role!r} is one of the product {other!r}")))
    if not await insert_product(tx.connection, product):
        return context.refused(Refusal.already_exists("product", product.id))
    await replace_templates(tx.connection, product)
    return await _changed(tx, context, None, product, "created")


@on_product("create-meter", _meter_object)
async def create_meter(
    tx: Transaction, command: Event[CreateMeter], context: Context, before: ProductState
) -> Decision:
    """Add a meter to a product, with its first rate."""
    after = catalogue.add_meter(before, command.data, tx.now)
    if isinstance(after, Refusal):
        return context.refused(after)
    await insert_meter(tx.connection, after, after.meters[-1])
    return await _changed(tx, context, before, after, "meter_added")


@on_product("set-rate", _meter_object)
async def set_rate(tx: Transaction, command: Event[SetRate], context: Context, before: ProductState) -> Decision:
    """Add a rate to a meter, from its date on."""
    asked = command.data
    after = catalogue.add_rate(before, asked, tx.now)
    if isinstance(after, Refusal):
        return context.refused(after)
    await insert_rate(tx.connection, after, next(one for one in after.meters if one.meter == asked.meter))
    return await _changed(tx, context, before, after, "rate_added")


@on_product("retire-product", _product_object)
async def retire_product(
    tx: Transaction, _command: Event[RetireProduct], context: Context, before: ProductState
) -> Decision:
    """Retire a product.

    The due work then returns its units to every subscription that uses it.
    """
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
