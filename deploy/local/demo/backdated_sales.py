"""Past commands of vendor and customers.

They make subscriptions, lots, and the history of allocations.
"""

import uuid
from datetime import datetime, timedelta

from deploy.local.demo.accounts import DemoAccount
from deploy.local.demo.backdated_commands import BackdatedCommands
from deploy.local.demo.sales import VENDOR
from shared.events.commands.accounts import CreateAccount, SetFlex
from shared.events.commands.plans import ApplyPlan, PlannedChange
from shared.events.commands.subscriptions import CreateSubscription, PurchaseLot, SubscribeProduct
from shared.events.envelope import Payload
from shared.events.ids import AccountId, ProductId, SubscriptionId
from shared.events.state import Person

_NAMESPACE = uuid.UUID("5a0d3c55-2f5c-4b0c-8f7b-6f6e3e1f4e0d")
TOP_UP_AFTER = timedelta(days=180)
GROWN_AFTER = timedelta(days=190)
BEGAN_PERCENT = 70
"""Percentage of today's allocation that each product was given first."""
REBALANCED_BEFORE = timedelta(days=40)
LOT_ENDED_BEFORE = timedelta(days=3)
SHIFTED = 10
"""Units that the lately rebalanced account moved from one product to another."""


def subscription_of(account: DemoAccount) -> SubscriptionId:
    """The subscription's id, chosen by the sender of the command, as reporting does."""
    return SubscriptionId(str(uuid.uuid5(_NAMESPACE, account.id)))


async def sell_backdated(commands: BackdatedCommands, account: DemoAccount, today: datetime) -> str:
    """Decide all of an account's past commands, in order.

    Returns the id of its subscription.
    """
    subscription = subscription_of(account)
    at = account.start
    identity = AccountId(account.id)

    async def vendor(minutes: int, key: str, payload: Payload, *, after: timedelta = timedelta()) -> None:
        await commands.decide(at + after + timedelta(minutes=minutes), VENDOR, key, payload)

    await vendor(0, account.id, CreateAccount(account=identity, name=account.name))
    if account.scenario != "per product":
        await vendor(1, account.id, SetFlex(account=identity, enabled=True, reason="Ordered with the first units"))
    contact = Person(email=account.contact.email, name=account.contact.name)
    await vendor(
        2,
        subscription,
        CreateSubscription(
            subscription=subscription,
            account=identity,
            name=account.subscription_name,
            model="per_product" if account.scenario == "per product" else "flex",
            start=account.start,
            end=account.end,
            primary_contact=contact,
        ),
    )
    if account.scenario == "per product":
        return subscription
    first, *more = account.lots
    await vendor(3, subscription, _lot(account, 1, first))
    if account.scenario == "over-allocated":
        await vendor(4, subscription, _lot(account, 2, more.pop(), end=today - LOT_ENDED_BEFORE))
    for share in account.shares:
        await vendor(5, subscription, SubscribeProduct(subscription=subscription, product=ProductId(share.product)))
    grows = at + GROWN_AFTER < today
    given = {share.product: share.allocated * (BEGAN_PERCENT if grows else 100) // 100 for share in account.shares}
    await commands.decide(at + timedelta(minutes=9), account.contact, subscription, _plan(subscription, given))
    for number, units in enumerate(more, 2):
        await vendor(0, subscription, _lot(account, number, units), after=TOP_UP_AFTER)
    if grows:
        await _grow(commands, account, subscription, today)
    return subscription


async def _grow(
    commands: BackdatedCommands, account: DemoAccount, subscription: SubscriptionId, today: datetime
) -> None:
    """Raise allocations to today's.

    One account does so in two steps, of which the second is a rebalance.
    """
    now = {share.product: share.allocated for share in account.shares}
    grown = account.start + GROWN_AFTER
    if account.scenario == "rebalanced lately":
        first, second, *_ = account.shares
        then = now | {first.product: first.allocated + SHIFTED, second.product: second.allocated - SHIFTED}
        await commands.decide(grown, account.contact, subscription, _plan(subscription, then))
        grown = today - REBALANCED_BEFORE
    await commands.decide(grown, account.contact, subscription, _plan(subscription, now))


def _lot(account: DemoAccount, number: int, units: int, end: datetime | None = None) -> PurchaseLot:
    return PurchaseLot(
        subscription=subscription_of(account),
        lot=f"{account.id}-{number}",
        units=units,
        order_reference=f"PO-{account.id}-{number}",
        end=end,
    )


def _plan(subscription: SubscriptionId, allocations: dict[str, int]) -> ApplyPlan:
    changes = tuple(PlannedChange(product=ProductId(product), units=units) for product, units in allocations.items())
    return ApplyPlan(subscription=subscription, changes=changes)
