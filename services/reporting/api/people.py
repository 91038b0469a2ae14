"""The people of an account, and its roles in products' applications."""

from typing import Any

from fastapi import APIRouter, Response

from services.reporting.api.accounts import id_from
from services.reporting.api.answers import people as answers
from services.reporting.api.fields import Cursor, Limit
from services.reporting.api.identifiers import AccountInPath, PersonInPath, ProductInQuery, RoleInPath
from services.reporting.api.requests.people import NewMember, NewPerson, NewRole, PersonChange, RoleChange
from services.reporting.api.routing import ApiContext, CommandId, CurrentCaller, derive_id, new_router, write_answers
from shared.events.commands.accounts import (
    AddPerson,
    ChangePerson,
    ChangeRole,
    CreateRole,
    RemovePerson,
    ResetRole,
    SetRoleMember,
)
from shared.events.ids import RoleId

MAX_ROLE_ID_LENGTH = 100


def people_router(context: ApiContext) -> APIRouter:
    """``/v1/accounts/{id}/people``, ``/v1/accounts/{id}/roles``."""
    router = new_router("people and roles", "/accounts/{account}")
    _add_people(router, context)
    _add_roles(router, context)
    _add_members(router, context)
    return router


def _add_people(router: APIRouter, context: ApiContext) -> None:
    accounts = context.application.accounts

    @router.get("/people", response_model=answers.People)
    async def several(caller: CurrentCaller, account: AccountInPath, limit: Limit = 50, cursor: Cursor = None) -> Any:
        """List the account's people, each with their roles in its subscriptions."""
        return await accounts.people(caller, account, limit, cursor)

    @router.post("/people", **write_answers(answers.AccountPerson))
    async def add(caller: CurrentCaller, account: AccountInPath, body: NewPerson, command: CommandId) -> Response:
        """Add a person to the account, without any grants."""
        payload = AddPerson(account=account, email=body.email, name=body.name)
        return await context.write(
            payload, caller, command, lambda: answers.AccountPerson.of(accounts.person(caller, account, body.email))
        )

    @router.get("/people/{email}", response_model=answers.AccountPerson)
    async def one(caller: CurrentCaller, account: AccountInPath, email: PersonInPath) -> Any:
        """Return one person, removed or not."""
        return await accounts.person(caller, account, email)

    @router.patch("/people/{email}", **write_answers(answers.AccountPerson))
    async def change(
        caller: CurrentCaller, account: AccountInPath, email: PersonInPath, body: PersonChange, command: CommandId
    ) -> Response:
        """Rename, disable or enable a person, or correct their address."""
        person, now = await accounts.person_id(account, email), body.email or email
        payload = ChangePerson(account=account, person=person, email=body.email, name=body.name, enabled=body.enabled)
        return await context.write(
            payload, caller, command, lambda: answers.AccountPerson.of(accounts.person(caller, account, now))
        )

    @router.delete("/people/{email}", **write_answers(answers.AccountPerson))
    async def remove(
        caller: CurrentCaller, account: AccountInPath, email: PersonInPath, command: CommandId
    ) -> Response:
        """Remove a person with all grants and roles; records of their actions stay."""
        payload = RemovePerson(account=account, person=await accounts.person_id(account, email))
        return await context.write(
            payload, caller, command, lambda: answers.AccountPerson.of(accounts.person(caller, account, email))
        )


def _add_roles(router: APIRouter, context: ApiContext) -> None:
    accounts = context.application.accounts

    @router.get("/roles", response_model=answers.Roles)
    async def several(
        caller: CurrentCaller, account: AccountInPath, product: ProductInQuery, limit: Limit = 50, cursor: Cursor = None
    ) -> Any:
        """List the account's roles, each with its difference from the default."""
        return await accounts.roles(caller, account, limit, cursor, product)

    @router.post("/roles", **write_answers(answers.Role))
    async def create(caller: CurrentCaller, account: AccountInPath, body: NewRole, command: CommandId) -> Response:
        """Create a role of the account's own."""
        made = id_from(f"{body.product}-{body.name}", MAX_ROLE_ID_LENGTH) or derive_id(caller, command)
        role = body.role or RoleId(made)
        payload = CreateRole(
            account=account, role=role, product=body.product, name=body.name, permissions=tuple(body.permissions)
        )
        return await context.write(
            payload, caller, command, lambda: answers.Role.of(accounts.role(caller, account, role))
        )

    @router.get("/roles/{role}", response_model=answers.Role)
    async def one(caller: CurrentCaller, account: AccountInPath, role: RoleInPath) -> Any:
        """Return a role with its permissions and members.

        The answer also has its difference from the default.
        """
        return await accounts.role(caller, account, role)

    @router.patch("/roles/{role}", **write_answers(answers.Role))
    async def change(
        caller: CurrentCaller, account: AccountInPath, role: RoleInPath, body: RoleChange, command: CommandId
    ) -> Response:
        """Rename a role, or replace its permissions.

        A default role is customised by that: later changes of the default do not affect it.
        """
        permissions = None if body.permissions is None else tuple(body.permissions)
        payload = ChangeRole(account=account, role=role, name=body.name, permissions=permissions)
        return await context.write(
            payload, caller, command, lambda: answers.Role.of(accounts.role(caller, account, role))
        )

    @router.post("/roles/{role}/reset", **write_answers(answers.Role))
    async def reset(caller: CurrentCaller, account: AccountInPath, role: RoleInPath, command: CommandId) -> Response:
        """Reset a customised role to its default."""
        payload = ResetRole(account=account, role=role)
        return await context.write(
            payload, caller, command, lambda: answers.Role.of(accounts.role(caller, account, role))
        )


def _add_members(router: APIRouter, context: ApiContext) -> None:
    accounts = context.application.accounts

    @router.get("/roles/{role}/members", response_model=answers.Members)
    async def several(caller: CurrentCaller, account: AccountInPath, role: RoleInPath) -> Any:
        """List the members of the role."""
        return {"items": await accounts.members(caller, account, role)}

    @router.post("/roles/{role}/members", **write_answers(answers.Role))
    async def add(
        caller: CurrentCaller, account: AccountInPath, role: RoleInPath, body: NewMember, command: CommandId
    ) -> Response:
        """Give the role to a person known in the account."""
        person = await accounts.person_id(account, body.email)
        payload = SetRoleMember(account=account, role=role, person=person, member=True)
        return await context.write(
            payload, caller, command, lambda: answers.Role.of(accounts.role(caller, account, role))
        )

    @router.put("/roles/{role}/members/{email}", **write_answers(answers.Role))
    async def give(
        caller: CurrentCaller, account: AccountInPath, role: RoleInPath, email: PersonInPath, command: CommandId
    ) -> Response:
        """Give the role to a person, named in the path."""
        person = await accounts.person_id(account, email)
        payload = SetRoleMember(account=account, role=role, person=person, member=True)
        return await context.write(
            payload, caller, command, lambda: answers.Role.of(accounts.role(caller, account, role))
        )

    @router.delete("/roles/{role}/members/{email}", **write_answers(answers.Role))
    async def take(
        caller: CurrentCaller, account: AccountInPath, role: RoleInPath, email: PersonInPath, command: CommandId
    ) -> Response:
        """Take the role from a person."""
        person = await accounts.person_id(account, email)
        payload = SetRoleMember(account=account, role=role, person=person, member=False)
        return await context.write(
            payload, caller, command, lambda: answers.Role.of(accounts.role(caller, account, role))
        )
