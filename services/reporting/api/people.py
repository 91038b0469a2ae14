"""The people of an account, and its roles in products' applications."""

from typing import Any

from fastapi import APIRouter, Response

from services.reporting.api.accounts import id_from
from services.reporting.api.answers import people as answers
from services.reporting.api.edge import Asking, CommandId, Doors, chosen_id, new_router, write_answers
from services.reporting.api.fields import Cursor, Limit
from services.reporting.api.names import InAccount, OfPerson, OfRole, ProductWanted
from services.reporting.api.requests.people import NewMember, NewPerson, NewRole, PersonChange, RoleChange
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


def people_router(doors: Doors) -> APIRouter:
    """``/v1/accounts/{id}/people``, ``/v1/accounts/{id}/roles``."""
    router = new_router("people and roles", "/accounts/{account}")
    _add_people(router, doors)
    _add_roles(router, doors)
    _add_members(router, doors)
    return router


def _add_people(router: APIRouter, doors: Doors) -> None:
    accounts = doors.application.accounts

    @router.get("/people", response_model=answers.People)
    async def several(caller: Asking, account: InAccount, limit: Limit = 50, cursor: Cursor = None) -> Any:
        """List the account's people, each with their roles in its subscriptions."""
        return await accounts.people(caller, account, limit, cursor)

    @router.post("/people", **write_answers(answers.AccountPerson))
    async def add(caller: Asking, account: InAccount, asked: NewPerson, command: CommandId) -> Response:
        """Add a person to the account, without any grants."""
        payload = AddPerson(account=account, email=asked.email, name=asked.name)
        return await doors.write(
            payload, caller, command, lambda: answers.AccountPerson.of(accounts.person(caller, account, asked.email))
        )

    @router.get("/people/{email}", response_model=answers.AccountPerson)
    async def one(caller: Asking, account: InAccount, email: OfPerson) -> Any:
        """Return one person, removed or not."""
        return await accounts.person(caller, account, email)

    @router.patch("/people/{email}", **write_answers(answers.AccountPerson))
    async def change(
        caller: Asking, account: InAccount, email: OfPerson, asked: PersonChange, command: CommandId
    ) -> Response:
        """Rename, disable or enable a person."""
        payload = ChangePerson(account=account, email=email, name=asked.name, enabled=asked.enabled)
        return await doors.write(
            payload, caller, command, lambda: answers.AccountPerson.of(accounts.person(caller, account, email))
        )

    @router.delete("/people/{email}", **write_answers(answers.AccountPerson))
    async def remove(caller: Asking, account: InAccount, email: OfPerson, command: CommandId) -> Response:
        """Remove a person with all grants and roles; records of their actions stay."""
        payload = RemovePerson(account=account, email=email)
        return await doors.write(
            payload, caller, command, lambda: answers.AccountPerson.of(accounts.person(caller, account, email))
        )


def _add_roles(router: APIRouter, doors: Doors) -> None:
    accounts = doors.application.accounts

    @router.get("/roles", response_model=answers.Roles)
    async def several(
        caller: Asking, account: InAccount, product: ProductWanted, limit: Limit = 50, cursor: Cursor = None
    ) -> Any:
        """List the account's roles, each with its difference from the default."""
        return await accounts.roles(caller, account, limit, cursor, product)

    @router.post("/roles", **write_answers(answers.Role))
    async def create(caller: Asking, account: InAccount, asked: NewRole, command: CommandId) -> Response:
        """Create a role of the account's own."""
        made = id_from(f"{asked.product}-{asked.name}", MAX_ROLE_ID_LENGTH) or chosen_id(caller, command)
        role = asked.role or RoleId(made)
        payload = CreateRole(
            account=account, role=role, product=asked.product, name=asked.name, permissions=tuple(asked.permissions)
        )
        return await doors.write(
            payload, caller, command, lambda: answers.Role.of(accounts.role(caller, account, role))
        )

    @router.get("/roles/{role}", response_model=answers.Role)
    async def one(caller: Asking, account: InAccount, role: OfRole) -> Any:
        """Return a role with its permissions, its members, and its difference from the default."""
        return await accounts.role(caller, account, role)

    @router.patch("/roles/{role}", **write_answers(answers.Role))
    async def change(
        caller: Asking, account: InAccount, role: OfRole, asked: RoleChange, command: CommandId
    ) -> Response:
        """Rename a role, or replace its permissions.

        A default role is customised by that: later changes of the default do not affect it.
        """
        permissions = None if asked.permissions is None else tuple(asked.permissions)
        payload = ChangeRole(account=account, role=role, name=asked.name, permissions=permissions)
        return await doors.write(
            payload, caller, command, lambda: answers.Role.of(accounts.role(caller, account, role))
        )

    @router.post("/roles/{role}/reset", **write_answers(answers.Role))
    async def reset(caller: Asking, account: InAccount, role: OfRole, command: CommandId) -> Response:
        """Reset a customised role to its default."""
        payload = ResetRole(account=account, role=role)
        return await doors.write(
            payload, caller, command, lambda: answers.Role.of(accounts.role(caller, account, role))
        )


def _add_members(router: APIRouter, doors: Doors) -> None:
    accounts = doors.application.accounts

    @router.get("/roles/{role}/members", response_model=answers.Members)
    async def several(caller: Asking, account: InAccount, role: OfRole) -> Any:
        """List the members of the role."""
        return {"items": await accounts.members(caller, account, role)}

    @router.post("/roles/{role}/members", **write_answers(answers.Role))
    async def add(caller: Asking, account: InAccount, role: OfRole, asked: NewMember, command: CommandId) -> Response:
        """Give the role to a person known in the account."""
        payload = SetRoleMember(account=account, role=role, email=asked.email, member=True)
        return await doors.write(
            payload, caller, command, lambda: answers.Role.of(accounts.role(caller, account, role))
        )

    @router.put("/roles/{role}/members/{email}", **write_answers(answers.Role))
    async def give(caller: Asking, account: InAccount, role: OfRole, email: OfPerson, command: CommandId) -> Response:
        """Give the role to a person, named in the path."""
        payload = SetRoleMember(account=account, role=role, email=email, member=True)
        return await doors.write(
            payload, caller, command, lambda: answers.Role.of(accounts.role(caller, account, role))
        )

    @router.delete("/roles/{role}/members/{email}", **write_answers(answers.Role))
    async def take(caller: Asking, account: InAccount, role: OfRole, email: OfPerson, command: CommandId) -> Response:
        """Take the role from a person."""
        payload = SetRoleMember(account=account, role=role, email=email, member=False)
        return await doors.write(
            payload, caller, command, lambda: answers.Role.of(accounts.role(caller, account, role))
        )
