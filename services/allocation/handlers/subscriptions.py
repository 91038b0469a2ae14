"""Commands on subscriptions, but for plans."""

from typing import Any

from services.allocation.domain import lots, refusals, subscriptions
from services.allocation.domain.permissions import Action, refusal_for, roles_of
from services.allocation.domain.subscriptions import Subscription, Terms
from services.allocation.handlers.accounts import knows_account
from services.allocation.handlers.deciding import Matter, actor_of
from services.allocation.store.accounts import find_account
from services.allocation.store.allocations import insert_allocation, update_policy
from services.allocation.store.catalogue import find_product
from services.allocation.store.lots import insert_lot
from services.allocation.store.subscriptions import (
    insert_subscription,
    lock_subscription,
    update_subscription,
)
from shared.events.allocation import LotPurchased, PolicyChanged, ProductSubscribed, SubscriptionCreated
from shared.events.commands import CreateSubscription, PurchaseLot, SetPolicy, SubscribeProduct
from shared.events.envelope import Event, Payload
from shared.events.ids import SubscriptionId
from shared.events.refusals import Refusal
from shared.events.topics import ALLOCATION_EVENTS_TOPIC
from shared.runtime.delivery import Transaction
from shared.runtime.inbox import Decision, Refused


async def create_subscription(tx: Transaction, command: Event[CreateSubscription], terms: Terms) -> Decision:
    """Create a subscription, on these terms."""
    asked, actor = command.data, actor_of(command)
    matter = Matter("create-subscription", f"subscription/{asked.subscription}", asked.account, asked.subscription)
    known = await knows_account(tx, actor, asked.account)
    if refusal := refusal_for("create-subscription", roles_of(actor, None), known=known, what="account"):
        return matter.refused(refusal)
    account = await find_account(tx.connection, asked.account)
    if account is None:
        return matter.refused(refusals.not_found("account"))
    created = subscriptions.create(asked, account, terms, tx.now)
    if isinstance(created, Refusal):
        return matter.refused(created)
    if not await insert_subscription(tx.connection, created):
        return matter.refused(refusals.already_exists("subscription", asked.subscription))
    await tell(tx, created, SubscriptionCreated(subscription=created.state))
    return matter.accepted(created.state.id, created.state.version, after=created.state.model_dump(mode="json"))


async def purchase_lot(tx: Transaction, command: Event[PurchaseLot]) -> Decision:
    """Sell units to a subscription."""
    found = await lock_for("purchase-lot", tx, command, command.data.subscription)
    if isinstance(found, Refused):
        return found
    matter, subscription = found
    bought = lots.purchase(subscription, command.data, tx.now)
    if isinstance(bought, Refusal):
        return matter.refused(bought)
    after, lot = bought
    await insert_lot(tx.connection, after.state.id, lot)
    await update_subscription(tx.connection, after)
    await tell(tx, after, LotPurchased(subscription=after.state, lot=lot))
    return matter.accepted(
        after.state.id,
        after.state.version,
        before={"purchased": subscription.state.purchased(tx.now)},
        after={"purchased": after.state.purchased(tx.now), "lot": lot.model_dump(mode="json")},
    )


async def subscribe_product(tx: Transaction, command: Event[SubscribeProduct]) -> Decision:
    """Let a subscription use a product."""
    asked = command.data
    found = await lock_for("subscribe-product", tx, command, asked.subscription)
    if isinstance(found, Refused):
        return found
    matter, subscription = found
    product = await find_product(tx.connection, asked.product)
    after = subscriptions.subscribe(subscription, asked.product, product, tx.now)
    if isinstance(after, Refusal):
        return matter.refused(after)
    await insert_allocation(tx.connection, after.state.id, after.state.products[-1])
    await update_subscription(tx.connection, after)
    await tell(tx, after, ProductSubscribed(subscription=after.state, product=asked.product))
    return matter.accepted(
        after.state.id,
        after.state.version,
        before={"products": [one.product for one in subscription.state.products]},
        after={"products": [one.product for one in after.state.products]},
    )


async def set_policy(tx: Transaction, command: Event[SetPolicy]) -> Decision:
    """Choose the overage policy of a product. The one that it has already changes nothing."""
    asked = command.data
    found = await lock_for("set-policy", tx, command, asked.subscription)
    if isinstance(found, Refused):
        return found
    matter, subscription = found
    after = subscriptions.set_policy(subscription, asked.product, asked.overage, tx.now)
    if isinstance(after, Refusal):
        return matter.refused(after)
    before = next(one.policy for one in subscription.state.products if one.product == asked.product)
    if after is not subscription:
        await update_policy(tx.connection, after.state.id, asked.product, asked.overage)
        await update_subscription(tx.connection, after)
        event = PolicyChanged(subscription=after.state, product=asked.product, before=before, after=asked.overage)
        await tell(tx, after, event)
    return matter.accepted(
        after.state.id,
        after.state.version,
        before={"product": asked.product, "overage": before},
        after={"product": asked.product, "overage": asked.overage},
    )


async def lock_for(
    action: Action, tx: Transaction, command: Event[Any], subscription: SubscriptionId
) -> tuple[Matter, Subscription] | Refused:
    """The subscription, locked, for someone who may do ``action`` on it."""
    found = await lock_subscription(tx.connection, subscription)
    matter = Matter(action, f"subscription/{subscription}", subscription=subscription)
    if found is None:
        return matter.refused(refusals.not_found("subscription"))
    matter = Matter(action, matter.object, found.state.account, subscription)
    roles = roles_of(actor_of(command), found.state)
    refusal = refusal_for(action, roles, what="subscription")
    return matter.refused(refusal) if refusal else (matter, found)


async def tell(tx: Transaction, subscription: Subscription, event: Payload) -> None:
    """Publish what happened to a subscription."""
    await tx.emit(ALLOCATION_EVENTS_TOPIC, subscription.state.id, event, subject=subscription.state.id)
