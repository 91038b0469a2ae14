"""Commands on the products of a subscription, except their allocations."""

from services.allocation.domain import products
from services.allocation.domain.subscriptions import Subscription
from services.allocation.handlers.context import Context
from services.allocation.handlers.roles import create_default_roles
from services.allocation.handlers.subscription_lock import carry_out, on_subscription
from services.allocation.store.catalogue import share_lock_product
from shared.events.allocation import PolicyChanged, ProductEnded, ProductSubscribed
from shared.events.commands.subscriptions import SetPolicy, SubscribeProduct, UnsubscribeProduct
from shared.events.envelope import Event
from shared.events.refusals import Refusal
from shared.runtime.commands.decisions import Decision
from shared.runtime.delivery.transaction import Transaction


@on_subscription("subscribe-product")
async def subscribe_product(
    tx: Transaction, command: Event[SubscribeProduct], context: Context, before: Subscription
) -> Decision:
    """Add a product to a subscription."""
    asked = command.data
    product = await share_lock_product(tx.connection, asked.product)
    after = products.subscribe(before, asked.product, product, tx.now)
    if isinstance(after, Refusal):
        return context.refused(after)
    done = await carry_out(tx, before, after, lambda it: ProductSubscribed(subscription=it, product=asked.product))
    if product is not None:
        await create_default_roles(tx, done.state.account, product)
    return _used(context, before, done)


@on_subscription("unsubscribe-product")
async def unsubscribe_product(
    tx: Transaction, command: Event[UnsubscribeProduct], context: Context, before: Subscription
) -> Decision:
    """End the use of a product: its units return to the pool.

    Its history and its roles stay.
    """
    asked = command.data
    after = products.unsubscribe(before, asked.product, tx.now)
    if isinstance(after, Refusal):
        return context.refused(after)
    returned = before.state.allocated - after.state.allocated
    done = await carry_out(
        tx,
        before,
        after,
        lambda it: ProductEnded(subscription=it, product=asked.product, because="unsubscribed", returned=returned),
    )
    return _used(context, before, done)


@on_subscription("set-policy")
async def set_policy(tx: Transaction, command: Event[SetPolicy], context: Context, before: Subscription) -> Decision:
    """Set the overage policy of a product. Setting the present one changes nothing."""
    asked = command.data
    after = products.set_policy(before, asked.product, asked.overage, tx.now)
    if isinstance(after, Refusal):
        return context.refused(after)
    had = next(one.policy for one in before.state.active_products if one.product == asked.product)
    if after is not before:
        after = await carry_out(
            tx,
            before,
            after,
            lambda it: PolicyChanged(subscription=it, product=asked.product, before=had, after=asked.overage),
        )
    return context.accepted(
        after.state.id,
        after.state.version,
        before={"product": asked.product, "overage": had},
        after={"product": asked.product, "overage": asked.overage},
    )


def _used(context: Context, before: Subscription, after: Subscription) -> Decision:
    """Which products are used, and what is allocated."""
    return context.accepted(
        after.state.id,
        after.state.version,
        before={"products": {one.product: one.allocated for one in before.state.active_products}},
        after={"products": {one.product: one.allocated for one in after.state.active_products}},
    )
