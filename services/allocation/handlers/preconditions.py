"""Preconditions of commands on other objects than subscriptions.

They are a right of the actor, and the locked object.

Each decorator refuses a command before its handler if the actor may not send it or its object does not exist. For
commands on subscriptions see ``subscription_lock``.
"""

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any, TypeVar

from services.allocation.domain.permissions import Action, Actor, account_roles_of, refusal_for, roles_of
from services.allocation.handlers.context import Context, actor_of
from services.allocation.store.accounts import find_account
from services.allocation.store.catalogue import find_product, lock_product
from services.allocation.store.people import load_account_roles
from services.allocation.store.roles import lock_role
from shared.events.commands.accounts import (
    AddPerson,
    ChangePerson,
    ChangeRole,
    CreateRole,
    RemovePerson,
    ResetRole,
    SetRoleMember,
)
from shared.events.commands.catalogue import CreateMeter, RetireProduct, SetRate, SetRoleTemplates
from shared.events.envelope import Event, Payload
from shared.events.ids import AccountId
from shared.events.refusals import Refusal
from shared.events.state import ProductState, RoleState
from shared.runtime.commands.decisions import CommandHandler, Decision
from shared.runtime.delivery.transaction import Transaction

P = TypeVar("P", bound=Payload)
A = TypeVar("A", bound=AddPerson | ChangePerson | RemovePerson | CreateRole | ChangeRole | ResetRole | SetRoleMember)
R = TypeVar("R", bound=ChangeRole | ResetRole)
C = TypeVar("C", bound=CreateMeter | SetRate | RetireProduct | SetRoleTemplates)
VendorHandler = Callable[[Transaction, Event[P], Context], Awaitable[Decision]]
ProductHandler = Callable[[Transaction, Event[C], Context, ProductState], Awaitable[Decision]]
AccountHandler = Callable[[Transaction, Event[A], Context], Awaitable[Decision]]
RoleHandler = Callable[[Transaction, Event[R], Context, RoleState, ProductState], Awaitable[Decision]]
ObjectOf = Callable[[Any], str]
"""The audited object of a command, from its payload."""


def by_vendor(action: Action, object_of: ObjectOf, *, what: str) -> "Callable[[VendorHandler[P]], CommandHandler]":
    """Run a handler for vendors only.

    Others are refused; ``what`` names the object in the refusal.
    """

    def decorate(handle: "VendorHandler[P]") -> CommandHandler:
        @wraps(handle)
        async def handler(tx: Transaction, command: Event[P]) -> Decision:
            context = Context(action, object_of(command.data))
            refusal = refusal_for(action, roles_of(actor_of(command), None), what=what)
            return context.refused(refusal) if refusal else await handle(tx, command, context)

        return handler

    return decorate


def on_product(action: Action, object_of: ObjectOf) -> "Callable[[ProductHandler[C]], CommandHandler]":
    """Run a handler for vendors only, with the product of its command locked."""

    def decorate(handle: "ProductHandler[C]") -> CommandHandler:
        @by_vendor(action, object_of, what="product")
        @wraps(handle)
        async def handler(tx: Transaction, command: Event[C], context: Context) -> Decision:
            product = await lock_product(tx.connection, command.data.product)
            if product is None:
                return context.refused(Refusal.not_found("product"))
            return await handle(tx, command, context, product)

        return handler

    return decorate


def on_account(action: Action, object_of: ObjectOf) -> "Callable[[AccountHandler[A]], CommandHandler]":
    """Run a handler if the actor may do ``action`` in the account of its command."""

    def decorate(handle: "AccountHandler[A]") -> CommandHandler:
        @wraps(handle)
        async def handler(tx: Transaction, command: Event[A]) -> Decision:
            context, actor = Context(action, object_of(command.data), command.data.account), actor_of(command)
            if await find_account(tx.connection, command.data.account) is None:
                return Context(action, context.object).refused(Refusal.not_found("account"))
            given = await load_account_roles(tx.connection, command.data.account, actor.person)
            refusal = refusal_for(action, account_roles_of(actor, given), known=bool(given), what="account")
            return context.refused(refusal) if refusal else await handle(tx, command, context)

        return handler

    return decorate


def on_role(action: Action, object_of: ObjectOf) -> "Callable[[RoleHandler[R]], CommandHandler]":
    """Run a handler as ``on_account`` does, with a role and its product.

    The role of the command is locked; its product is not.
    """

    def decorate(handle: "RoleHandler[R]") -> CommandHandler:
        @on_account(action, object_of)
        @wraps(handle)
        async def handler(tx: Transaction, command: Event[R], context: Context) -> Decision:
            role = await lock_role(tx.connection, command.data.account, command.data.role)
            product = await find_product(tx.connection, role.product) if role else None
            if role is None or product is None:
                return context.refused(Refusal.not_found("role"))
            return await handle(tx, command, context, role, product)

        return handler

    return decorate


async def knows_account(tx: Transaction, actor: Actor, account: AccountId) -> bool:
    """Whether an actor without a right may know that the account exists."""
    return actor.is_vendor or bool(await load_account_roles(tx.connection, account, actor.person))
