"""The central view of an application: default roles and holders of permissions."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from services.reporting.domain.roles import permissions_of_role
from shared.events.state import PersonState, ProductState, RoleState

People = Mapping[str, PersonState]


@dataclass(frozen=True, slots=True)
class RoleLine:
    """A default role in one line."""

    role: str
    name: str
    summary: str


@dataclass(frozen=True, slots=True)
class ApplicationSummary:
    """An application in a list: the number of its default roles, and each in one line."""

    product: str
    name: str
    retired_at: datetime | None
    roles_version: int
    default_roles: int
    roles: tuple[RoleLine, ...]


@dataclass(frozen=True, slots=True)
class Holder:
    """An active person who has a permission through a role."""

    account: str
    email: str
    name: str | None
    role: str
    role_name: str


@dataclass(frozen=True, slots=True)
class PermissionRow:
    """A permission, the default roles that include it, and its holders."""

    permission: str
    category: str
    description: str
    default_roles: tuple[str, ...]
    held_by: tuple[Holder, ...]


@dataclass(frozen=True, slots=True)
class ApplicationView(ApplicationSummary):
    """An application with a row per permission.

    ``complete``: no holder was left out by the limit.
    """

    permissions: tuple[PermissionRow, ...]
    complete: bool


def summarise_application(product: ProductState) -> ApplicationSummary:
    """Summarise an application for a list."""
    return ApplicationSummary(
        product=product.id,
        name=product.name,
        retired_at=product.retired_at,
        roles_version=product.roles_version,
        default_roles=len(product.roles),
        roles=_lines(product),
    )


def view_application(
    product: ProductState, held: Iterable[RoleState], people: People, *, complete: bool
) -> ApplicationView:
    """Build the view of an application.

    ``held``: roles with their members; inactive people hold nothing.
    """
    holders = _holders(product, held, people)
    return ApplicationView(
        product=product.id,
        name=product.name,
        retired_at=product.retired_at,
        roles_version=product.roles_version,
        default_roles=len(product.roles),
        roles=_lines(product),
        permissions=tuple(
            PermissionRow(
                permission=one.id,
                category=one.category,
                description=one.description,
                default_roles=tuple(role.name for role in product.roles if one.id in role.permissions),
                held_by=tuple(holders.get(one.id, ())),
            )
            for one in product.permissions
        ),
        complete=complete,
    )


def _lines(product: ProductState) -> tuple[RoleLine, ...]:
    return tuple(RoleLine(one.role, one.name, one.summary) for one in product.roles)


def _holders(product: ProductState, held: Iterable[RoleState], people: People) -> dict[str, list[Holder]]:
    holders: defaultdict[str, list[Holder]] = defaultdict(list)
    for role in held:
        active = [people[one] for one in role.members if one in people and people[one].is_active]
        for person in sorted(active, key=lambda one: one.email):
            holder = Holder(role.account, person.email, person.name, role.role, role.name)
            for permission in permissions_of_role(role, product):
                holders[permission].append(holder)
    return holders
