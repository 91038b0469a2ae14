"""Roles in products' applications.

They have permissions, and a difference from the default.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from services.reporting.domain.people import erased
from shared.events.state import PersonState, ProductState, RoleState, RoleTemplate


def template_of(role: RoleState, product: ProductState | None) -> RoleTemplate | None:
    """Return the role's default.

    ``None`` for an account's own role, or if the default was removed.
    """
    if not role.is_default or product is None:
        return None
    return next((one for one in product.roles if one.role == role.role), None)


def permissions_of_role(role: RoleState, product: ProductState | None) -> tuple[str, ...]:
    """Return the role's permissions.

    They are its own if it was customised, else those of its current template.
    """
    if role.customised is not None:
        return role.customised
    template = template_of(role, product)
    return template.permissions if template else ()


@dataclass(frozen=True, slots=True)
class DescribedPermission:
    """A permission with its description.

    Both texts are ``None`` if the product no longer has it.
    """

    permission: str
    category: str | None
    description: str | None


@dataclass(frozen=True, slots=True)
class Difference:
    """Permissions added to a default and removed from it."""

    added: tuple[str, ...]
    removed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RoleView:
    """A role as the API shows it.

    ``difference`` ``None``: there is no default to compare with.
    """

    account: str
    role: str
    product: str
    product_name: str
    name: str
    summary: str | None
    is_default: bool
    customised: bool
    based_on: int | None
    template_version: int | None
    permissions: tuple[DescribedPermission, ...]
    difference: Difference | None
    members: tuple[str, ...]
    version: int


@dataclass(frozen=True, slots=True)
class RoleMember:
    """A member of a role. The role has effect only while they are ``active``."""

    email: str
    name: str | None
    active: bool


def view_role(role: RoleState, product: ProductState | None, members: Iterable[str]) -> RoleView:
    """Build the view of a role with ``members``, those visible to the caller."""
    template = template_of(role, product)
    allowed = permissions_of_role(role, product)
    return RoleView(
        account=role.account,
        role=role.role,
        product=role.product,
        product_name=product.name if product else role.product,
        name=role.name,
        summary=template.summary if template else None,
        is_default=role.is_default,
        customised=role.customised is not None,
        based_on=role.based_on,
        template_version=product.roles_version if product and template else None,
        permissions=tuple(describe_permissions(allowed, product)),
        difference=compare_permissions(allowed, template.permissions) if template else None,
        members=tuple(sorted(members)),
        version=role.version,
    )


def compare_permissions(has: Iterable[str], default: Iterable[str]) -> Difference:
    """Compare permissions with those of a default.

    The result has those added to it and those removed from it, each sorted.
    """
    ours, theirs = set(has), set(default)
    return Difference(tuple(sorted(ours - theirs)), tuple(sorted(theirs - ours)))


def describe_permissions(permissions: Iterable[str], product: ProductState | None) -> list[DescribedPermission]:
    """Describe permissions in the product's order, unknown ones last."""
    wanted = set(permissions)
    known = [one for one in (product.permissions if product else ()) if one.id in wanted]
    unknown = sorted(wanted - {one.id for one in known})
    return [DescribedPermission(one.id, one.category, one.description) for one in known] + [
        DescribedPermission(one, None, None) for one in unknown
    ]


def role_member(id: str, person: PersonState | None) -> RoleMember:
    """Describe the member of this id.

    ``person`` ``None``: nothing is known of them, as they were erased.
    """
    return RoleMember(person.email, person.name, person.is_active) if person else RoleMember(erased(id), None, False)
