"""Commands on accounts."""

from dataclasses import replace

from services.allocation.domain import accounts
from services.allocation.domain.permissions import refusal_for, roles_of
from services.allocation.handlers.context import VENDOR, Context, actor_of
from services.allocation.handlers.preconditions import by_vendor, knows_account
from services.allocation.store.accounts import (
    insert_account,
    lock_account,
    update_account,
)
from shared.events.allocation import AccountCreated, AccountFlexChanged
from shared.events.commands.accounts import CreateAccount, SetFlex
from shared.events.envelope import Event
from shared.events.refusals import Refusal
from shared.events.topics import ALLOCATION_EVENTS_TOPIC
from shared.runtime.commands.decisions import Decision
from shared.runtime.delivery.transaction import Transaction


def _object_of(command: CreateAccount | SetFlex) -> str:
    return f"account/{command.account}"


@by_vendor("create-account", _object_of, what="account")
async def create_account(tx: Transaction, command: Event[CreateAccount], context: Context) -> Decision:
    """Create an account."""
    context = replace(context, account=command.data.account)
    account = accounts.create(command.data)
    if not await insert_account(tx.connection, account):
        return context.refused(Refusal.already_exists("account", account.id))
    await tx.emit(ALLOCATION_EVENTS_TOPIC, account.id, AccountCreated(account=account), subject=account.id)
    return context.accepted(account.id, account.version, after=account.model_dump(mode="json"))


async def set_flex(tx: Transaction, command: Event[SetFlex]) -> Decision:
    """Enable or disable flexible units for an account.

    Setting the present value changes nothing.
    """
    asked = command.data
    account = await lock_account(tx.connection, asked.account)
    context = Context("set-flex", _object_of(asked), account.id if account else VENDOR)
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
