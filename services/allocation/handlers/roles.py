"""Commands on roles: the default ones of a product, and those of an account."""

from typing import Any

from services.allocation.domain import people, refusals, roles
from services.allocation.domain.permissions import Action, refusal_for, roles_of
from services.allocation.handlers.accounts import account_for
from services.allocation.handlers.context import Context, actor_of
from services.allocation.handlers.publishing import publish
from services.allocation.store.catalogue import find_product, lock_product, replace_templates
from services.allocation.store.people import hold_person
from services.allocation.store.roles import (
    count_members,
    count_roles,
    find_own,
    find_templates_elsewhere,
    find_users,
    insert_role,
    is_template,
    lock_role,
    set_member,
    update_role,
    uses_product,
)
from shared.events.allocation import RoleChanged, RoleTemplatesChanged
from shared.events.commands.accounts import ChangeRole, CreateRole, ResetRole, SetRoleMember
from shared.events.commands.catalogue import SetRoleTemplates
from shared.events.envelope import Event
from shared.events.ids import AccountId, RoleId
from shared.events.refusals import Refusal
from shared.events.state import ProductState, RoleState
from shared.runtime.commands.decisions import Decision, Refused
from shared.runtime.delivery.transaction import Transaction


async def set_role_templates(tx: Transaction, command: Event[SetRoleTemplates]) -> Decision:
    """Set the permissions and default roles of a product.

    Roles that accounts have customised stay; a default role that is new comes to every account that uses the product.
    """
    asked = command.data
    context = Context("set-role-templates", f"product/{asked.product}")
    if refusal := refusal_for("set-role-templates", roles_of(actor_of(command), None), what="product"):
        return context.refused(refusal)
    before = await lock_product(tx.connection, asked.product)
    if before is None:
        return context.refused(Refusal.not_found("product"))
    ids = [one.role for one in asked.roles]
    elsewhere = await find_templates_elsewhere(tx.connection, ids, asked.product)
    after = roles.set_templates(before, asked, elsewhere, await find_own(tx.connection, ids))
    if isinstance(after, Refusal):
        return context.refused(after)
    if after is not before:
        await replace_templates(tx.connection, after)
        await publish(tx, after.id, RoleTemplatesChanged(product=after))
        if {one.role for one in after.roles} - {one.role for one in before.roles}:
            for account in await find_users(tx.connection, after.id):
                await create_default_roles(tx, account, after)
    return context.accepted(after.id, after.version, before=_templates(before), after=_templates(after))


async def create_default_roles(tx: Transaction, account: AccountId, product: ProductState) -> None:
    """What subscribing to a product brings: its default roles, each once per account."""
    for role in roles.defaults(account, product):
        if await insert_role(tx.connection, role):
            await publish(tx, role.role, RoleChanged(role=role))


async def create_role(tx: Transaction, command: Event[CreateRole]) -> Decision:
    """Create a role of the account's own."""
    asked = command.data
    context = await account_for("create-role", tx, command, asked.account, _object(asked.account, asked.role))
    if isinstance(context, Refused):
        return context
    product = await find_product(tx.connection, asked.product)
    if product is None:
        return context.refused(Refusal.invalid(("product", "there is no such product")))
    if not await uses_product(tx.connection, asked.account, asked.product):
        return context.refused(refusals.product_not_subscribed(asked.product))
    taken = await is_template(tx.connection, asked.role)
    role = roles.create(asked, product, taken=taken, count=await count_roles(tx.connection, asked.account))
    if isinstance(role, Refusal):
        return context.refused(role)
    if not await insert_role(tx.connection, role):
        return context.refused(Refusal.already_exists("role", asked.role))
    await publish(tx, role.role, RoleChanged(role=role))
    return context.accepted(role.role, role.version, after=role.model_dump(mode="json"))


async def change_role(tx: Transaction, command: Event[ChangeRole]) -> Decision:
    """Give a role another name or other permissions."""
    asked = command.data
    found = await _role_for("change-role", tx, command, asked.account, asked.role)
    if isinstance(found, Refused):
        return found
    context, role, product = found
    return await _changed(tx, context, role, roles.change(role, asked, product))


async def reset_role(tx: Transaction, command: Event[ResetRole]) -> Decision:
    """Make a customised default role what its template says."""
    asked = command.data
    found = await _role_for("reset-role", tx, command, asked.account, asked.role)
    if isinstance(found, Refused):
        return found
    context, role, product = found
    return await _changed(tx, context, role, roles.reset(role, product))


async def set_role_member(tx: Transaction, command: Event[SetRoleMember]) -> Decision:
    """Give a role to someone, or take it back. People are locked before roles."""
    asked = command.data
    context = await account_for("set-role-member", tx, command, asked.account, _object(asked.account, asked.role))
    if isinstance(context, Refused):
        return context
    person = await hold_person(tx.connection, asked.account, asked.email)
    role = await lock_role(tx.connection, asked.account, asked.role)
    if role is None:
        return context.refused(Refusal.not_found("role"))
    if asked.member and (refusal := people.not_active(person)):
        return context.refused(refusal)
    if asked.member and await count_members(tx.connection, role) >= roles.MAX_MEMBERS:
        return context.refused(Refusal.invalid(("email", f"a role has at most {roles.MAX_MEMBERS} members")))
    if person is not None:
        await set_member(tx.connection, role, asked.email, asked.member)
    return await _changed(tx, context, role, await members_changed(tx, role))


async def members_changed(tx: Transaction, before: RoleState) -> RoleState:
    """The role's next version where the members who count are others than ``before``, which is locked."""
    after = await lock_role(tx.connection, before.account, before.role)
    if after is None or after.members == before.members:
        return before
    return after.model_copy(update={"version": before.version + 1})


async def _role_for(
    action: Action, tx: Transaction, command: Event[Any], account: AccountId, id: RoleId
) -> tuple[Context, RoleState, ProductState] | Refused:
    """The role, locked, and its product, for someone who may."""
    context = await account_for(action, tx, command, account, _object(account, id))
    if isinstance(context, Refused):
        return context
    role = await lock_role(tx.connection, account, id)
    product = await find_product(tx.connection, role.product) if role else None
    if role is None or product is None:
        return context.refused(Refusal.not_found("role"))
    return context, role, product


async def _changed(tx: Transaction, context: Context, before: RoleState, after: RoleState | Refusal) -> Decision:
    if isinstance(after, Refusal):
        return context.refused(after)
    await write_role(tx, before, after)
    return context.accepted(
        after.role, after.version, before=before.model_dump(mode="json"), after=after.model_dump(mode="json")
    )


async def write_role(tx: Transaction, before: RoleState, after: RoleState) -> None:
    """Keep and tell what has become of a role, if anything."""
    if after is not before:
        await update_role(tx.connection, after)
        await publish(tx, after.role, RoleChanged(role=after))


def _object(account: AccountId, role: RoleId) -> str:
    return f"account/{account}/role/{role}"


def _templates(product: ProductState) -> dict[str, Any]:
    return product.model_dump(mode="json", include={"permissions", "roles", "roles_version"})
