"""Commands on subscriptions as contracts: create, renew, convert, cancel."""

from services.allocation.domain import subscriptions
from services.allocation.domain.advance import next_due
from services.allocation.domain.permissions import refusal_for, roles_of
from services.allocation.domain.subscriptions import Subscription, Terms
from services.allocation.domain.terms import lock_rates as lock_rates_of
from services.allocation.domain.terms import renew
from services.allocation.handlers.contacts import add_primary_contact
from services.allocation.handlers.context import VENDOR, Context, actor_of
from services.allocation.handlers.preconditions import knows_account
from services.allocation.handlers.publishing import publish
from services.allocation.handlers.subscription_lock import carry_out, on_subscription
from services.allocation.store.accounts import find_account
from services.allocation.store.due_work import insert_due
from services.allocation.store.prices import find_price_list
from services.allocation.store.subscriptions import insert_subscription
from shared.events.allocation import (
    RatesLocked,
    SubscriptionCancelled,
    SubscriptionConverted,
    SubscriptionCreated,
    SubscriptionRenewed,
)
from shared.events.commands.subscriptions import (
    CancelSubscription,
    ConvertSubscription,
    CreateSubscription,
    LockRates,
    RenewSubscription,
)
from shared.events.envelope import Event
from shared.events.refusals import Refusal
from shared.runtime.commands.decisions import Decision
from shared.runtime.delivery.transaction import Transaction


async def create_subscription(tx: Transaction, command: Event[CreateSubscription], terms: Terms) -> Decision:
    """Create a subscription on these terms."""
    asked, actor = command.data, actor_of(command)
    account = await find_account(tx.connection, asked.account)
    owner = account.id if account else VENDOR
    context = Context("create-subscription", f"subscription/{asked.subscription}", owner, asked.subscription)
    known = await knows_account(tx, actor, asked.account)
    if refusal := refusal_for("create-subscription", roles_of(actor, None), known=known, what="account"):
        return context.refused(refusal)
    if account is None:
        return context.refused(Refusal.not_found("account"))
    contact = await add_primary_contact(tx, asked.account, asked.primary_contact)
    if isinstance(contact, Refusal):
        return context.refused(contact)
    created = subscriptions.create(asked, contact, account, terms, tx.now)
    if isinstance(created, Refusal):
        return context.refused(created)
    if not await insert_subscription(tx.connection, created):
        return context.refused(Refusal.already_exists("subscription", asked.subscription))
    await insert_due(tx.connection, created.state.id, next_due(created, tx.now))
    await publish(tx, created.state.id, SubscriptionCreated(subscription=created.state))
    return context.accepted(created.state.id, created.state.version, after=created.state.model_dump(mode="json"))


@on_subscription("cancel-subscription")
async def cancel_subscription(
    tx: Transaction, command: Event[CancelSubscription], context: Context, before: Subscription
) -> Decision:
    """End a subscription at once."""
    asked = command.data
    after = subscriptions.cancel(before, tx.now)
    if isinstance(after, Refusal):
        return context.refused(after)
    done = await carry_out(tx, before, after, lambda it: SubscriptionCancelled(subscription=it, reason=asked.reason))
    return context.accepted(
        done.state.id,
        done.state.version,
        before={"state": before.state.state},
        after={"state": done.state.state},
        reason=asked.reason,
    )


@on_subscription("renew-subscription")
async def renew_subscription(
    tx: Transaction, command: Event[RenewSubscription], context: Context, before: Subscription
) -> Decision:
    """Sell a further term, with its pool."""
    renewed = renew(before, command.data, tx.now, await find_price_list(tx.connection))
    if isinstance(renewed, Refusal):
        return context.refused(renewed)
    after, term, lot = renewed
    done = await carry_out(tx, before, after, lambda it: SubscriptionRenewed(subscription=it, term=term, lot=lot))
    return context.accepted(
        done.state.id,
        done.state.version,
        before={"term": before.state.term.model_dump(mode="json")},
        after={"term": term.model_dump(mode="json"), "lot": lot.model_dump(mode="json") if lot else None},
    )


@on_subscription("convert-subscription")
async def convert_subscription(
    tx: Transaction, _command: Event[ConvertSubscription], context: Context, before: Subscription
) -> Decision:
    """Convert per-product licensing to a pool.

    A subscription with a pool stays as it is.
    """
    after = subscriptions.convert(before, tx.now)
    if isinstance(after, Refusal):
        return context.refused(after)
    if after is not before:
        after = await carry_out(tx, before, after, lambda it: SubscriptionConverted(subscription=it))
    return _accepted(context, before, after, "model")


@on_subscription("lock-rates")
async def lock_rates(tx: Transaction, command: Event[LockRates], context: Context, before: Subscription) -> Decision:
    """Lock the rates of the present term until its end.

    An existing lock cannot be ended.
    """
    asked = command.data
    after = lock_rates_of(before, locked=asked.locked, now=tx.now)
    if isinstance(after, Refusal):
        return context.refused(after)
    if after is not before:
        after = await carry_out(tx, before, after, lambda it: RatesLocked(subscription=it, locked=asked.locked))
    return _accepted(context, before, after, "term")


def _accepted(context: Context, before: Subscription, after: Subscription, field: str) -> Decision:
    was = before.state.model_dump(mode="json", include={field})
    return context.accepted(
        after.state.id, after.state.version, before=was, after=after.state.model_dump(mode="json", include={field})
    )
