"""Roles in products' applications: what they permit, and how that differs from their default."""

from collections.abc import Iterable
from typing import Any

from shared.events.state import PersonState, ProductState, RoleState, RoleTemplate

Body = dict[str, Any]


def template_of(role: RoleState, product: ProductState | None) -> RoleTemplate | None:
    """The default role that it began as; ``None`` for an account's own role, or when there is none any more."""
    if not role.is_default or product is None:
        return None
    return next((one for one in product.roles if one.role == role.role), None)


def permitted(role: RoleState, product: ProductState | None) -> tuple[str, ...]:
    """The permissions that it gives: its own where it was customised, else those of its template as it is now."""
    if role.customised is not None:
        return role.customised
    template = template_of(role, product)
    return template.permissions if template else ()


def present(role: RoleState, product: ProductState | None, members: Iterable[str]) -> Body:
    """A role as the API shows it, with those of its ``members`` that the asker may know.

    ``difference`` is ``None`` where there is no default to compare with.
    """
    template = template_of(role, product)
    allowed = permitted(role, product)
    return {
        "account": role.account,
        "role": role.role,
        "product": role.product,
        "product_name": product.name if product else role.product,
        "name": role.name,
        "summary": template.summary if template else None,
        "is_default": role.is_default,
        "customised": role.customised is not None,
        "based_on": role.based_on,
        "template_version": product.roles_version if product and template else None,
        "permissions": described(allowed, product),
        "difference": difference(allowed, template.permissions) if template else None,
        "members": sorted(members),
        "version": role.version,
    }


def difference(has: Iterable[str], default: Iterable[str]) -> Body:
    """What was added to a default and what was taken from it."""
    ours, theirs = set(has), set(default)
    return {"added": sorted(ours - theirs), "removed": sorted(theirs - ours)}


def described(permissions: Iterable[str], product: ProductState | None) -> list[Body]:
    """Permissions with their category and description, in the product's order; unknown ones last."""
    wanted = set(permissions)
    known = [one for one in (product.permissions if product else ()) if one.id in wanted]
    unknown = sorted(wanted - {one.id for one in known})
    return [{"permission": one.id, "category": one.category, "description": one.description} for one in known] + [
        {"permission": one, "category": None, "description": None} for one in unknown
    ]


def member(email: str, person: PersonState | None) -> Body:
    """Someone who has a role; it counts as long as they are active."""
    return {
        "email": email,
        "name": person.name if person else None,
        "active": person is None or person.is_active,
    }
