"""Commands on accounts, and who may do what with an account."""

from typing import Any

from services.allocation.domain import accounts
from services.allocation.domain.permissions import Action, Actor, account_roles_of, refusal_for, roles_of
from services.allocation.handlers.context import VENDOR, Context, actor_of
from services.allocation.store.accounts import (
    find_account,
    insert_account,
    lock_account,
    update_account,
)
from services.allocation.store.people import load_account_roles
from shared.events.allocation import AccountCreated, AccountFlexChanged
from shared.events.commands.accounts import CreateAccount, SetFlex
from shared.events.envelope import Event
from shared.events.ids import AccountId
from shared.events.refusals import Refusal
from shared.events.topics import ALLOCATION_EVENTS_TOPIC
from shared.runtime.commands.decisions import Decision, Refused
from shared.runtime.delivery.transaction import Transaction


async def create_account(tx: Transaction, command: Event[CreateAccount]) -> Decision:
    """Create an account."""
    asked = command.data
    context = Context("create-account", f"account/{asked.account}")
    if refusal := refusal_for("create-account", roles_of(actor_of(command), None), what="account"):
        return context.refused(refusal)
    context = Context(context.action, context.object, asked.account)
    account = accounts.create(asked)
    if not await insert_account(tx.connection, account):
        return context.refused(Refusal.already_exists("account", account.id))
    await tx.emit(ALLOCATION_EVENTS_TOPIC, account.id, AccountCreated(account=account), subject=account.id)
    return context.accepted(account.id, account.version, after=account.model_dump(mode="json"))


async def set_flex(tx: Transaction, command: Event[SetFlex]) -> Decision:
    """Enable or disable flexible units for an account. A value that it has already changes nothing."""
    asked = command.data
    account = await lock_account(tx.connection, asked.account)
    context = Context("set-flex", f"account/{asked.account}", account.id if account else VENDOR)
    if refusal := refusal_for(
        "set-flex",
        roles_of(actor_of(command), None),
        known=await knows_account(tx, actor_of(command), asked.account),
        what="account",
    ):
        return context.refused(refusal)
    if account is None:
        return context.refused(Refusal.not_found("account"))
    after = accounts.set_flex(account, asked.enabled)
    if after is not account:
        await update_account(tx.connection, after)
        event = AccountFlexChanged(account=after, reason=asked.reason)
        await tx.emit(ALLOCATION_EVENTS_TOPIC, after.id, event, subject=after.id)
    return context.accepted(
        after.id,
        after.version,
        before={"flex_enabled": account.flex_enabled},
        after={"flex_enabled": after.flex_enabled},
        reason=asked.reason,
    )


async def account_for(
    action: Action, tx: Transaction, command: Event[Any], account: AccountId, object: str
) -> Context | Refused:
    """The context of ``object``, which belongs to the account, for someone who may do ``action`` there."""
    if await find_account(tx.connection, account) is None:
        return Context(action, object).refused(Refusal.not_found("account"))
    context, actor = Context(action, object, account), actor_of(command)
    given = await load_account_roles(tx.connection, account, actor.email)
    refusal = refusal_for(action, account_roles_of(actor, given), known=bool(given), what="account")
    return context.refused(refusal) if refusal else context


async def knows_account(tx: Transaction, actor: Actor, account: AccountId) -> bool:
    """Whether someone without a right may know that the account exists."""
    return actor.is_vendor or bool(await load_account_roles(tx.connection, account, actor.email))
