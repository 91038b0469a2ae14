"""Commands on roles: the default ones of a product, and those of an account."""

from typing import Any

from services.allocation.domain import people, refusals, roles
from services.allocation.handlers.context import Context
from services.allocation.handlers.preconditions import on_account, on_product, on_role
from services.allocation.handlers.publishing import publish
from services.allocation.store.catalogue import find_product, replace_templates
from services.allocation.store.people import share_lock_person
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
from shared.events.ids import AccountId
from shared.events.refusals import Refusal
from shared.events.state import ProductState, RoleState
from shared.runtime.commands.decisions import Decision
from shared.runtime.delivery.transaction import Transaction


def _object_of(command: CreateRole | ChangeRole | ResetRole | SetRoleMember) -> str:
    return f"account/{command.account}/role/{command.role}"


@on_product("set-role-templates", lambda command: f"product/{command.product}")
async def set_role_templates(
    tx: Transaction, command: Event[SetRoleTemplates], context: Context, before: ProductState
) -> Decision:
    """Set the permissions and default roles of a product.

    Roles that accounts have customised stay; a new default role is added to every account that uses the product.
    """
    asked = command.data
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
    """Add a product's default roles to an account that does not have them yet."""
    for role in roles.defaults(account, product):
        if await insert_role(tx.connection, role):
            await publish(tx, role.role, RoleChanged(role=role))


@on_account("create-role", _object_of)
async def create_role(tx: Transaction, command: Event[CreateRole], context: Context) -> Decision:
    """Create a role of the account's own."""
    asked = command.data
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


@on_role("change-role", _object_of)
async def change_role(
    tx: Transaction, command: Event[ChangeRole], context: Context, role: RoleState, product: ProductState
) -> Decision:
    """Change a role's name or permissions."""
    return await _changed(tx, context, role, roles.change(role, command.data, product))


@on_role("reset-role", _object_of)
async def reset_role(
    tx: Transaction, _command: Event[ResetRole], context: Context, role: RoleState, product: ProductState
) -> Decision:
    """Reset a customised default role to its template."""
    return await _changed(tx, context, role, roles.reset(role, product))


@on_account("set-role-member", _object_of)
async def set_role_member(tx: Transaction, command: Event[SetRoleMember], context: Context) -> Decision:
    """Add a person to a role, or remove them. People are locked before roles."""
    asked = command.data
    person = await share_lock_person(tx.connection, asked.account, asked.person)
    role = await lock_role(tx.connection, asked.account, asked.role)
    if role is None:
        return context.refused(Refusal.not_found("role"))
    if asked.member and (refusal := people.not_active(person)):
        return context.refused(refusal)
    if asked.member and await count_members(tx.connection, role) >= roles.MAX_MEMBERS:
        return context.refused(Refusal.invalid(("email", f"a role has at most {roles.MAX_MEMBERS} members")))
    if person is not None:
        await set_member(tx.connection, role, person.id, asked.member)
    return await _changed(tx, context, role, await members_changed(tx, role))


async def members_changed(tx: Transaction, before: RoleState) -> RoleState:
    """Return the role's next version if its active members have changed.

    They are compared with those of ``before``, which is locked. Returns ``before`` if they are the same.
    """
    after = await lock_role(tx.connection, before.account, before.role)
    if after is None or after.members == before.members:
        return before
    return after.model_copy(update={"version": before.version + 1})


async def _changed(tx: Transaction, context: Context, before: RoleState, after: RoleState | Refusal) -> Decision:
    if isinstance(after, Refusal):
        return context.refused(after)
    await write_role(tx, before, after)
    return context.accepted(
        after.role, after.version, before=before.model_dump(mode="json"), after=after.model_dump(mode="json")
    )


async def write_role(tx: Transaction, before: RoleState, after: RoleState) -> None:
    """Save and publish a role, unless nothing has changed."""
    if after is not before:
        await update_role(tx.connection, after)
        await publish(tx, after.role, RoleChanged(role=after))


def _templates(product: ProductState) -> dict[str, Any]:
    return product.model_dump(mode="json", include={"permissions", "roles", "roles_version"})
