"""The central view of an application: its default roles, and who holds which permission by which role."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from services.reporting.domain.roles import permitted
from shared.events.state import PersonState, ProductState, RoleState

Body = dict[str, Any]
People = Mapping[tuple[str, str], PersonState]


def in_short(product: ProductState) -> Body:
    """An application in a list: the number of its default roles, and each in one line."""
    return {
        "product": product.id,
        "name": product.name,
        "retired_at": product.retired_at,
        "roles_version": product.roles_version,
        "default_roles": len(product.roles),
        "roles": [{"role": one.role, "name": one.name, "summary": one.summary} for one in product.roles],
    }


def whole(product: ProductState, held: Iterable[RoleState], people: People, *, complete: bool) -> Body:
    """The same with a row per permission. ``held`` are roles with their members; whoever is not active holds nothing.

    ``complete``: no holder is missing for want of room.
    """
    holders = _holders(product, held, people)
    rows = [
        {
            "permission": one.id,
            "category": one.category,
            "description": one.description,
            "default_roles": [role.name for role in product.roles if one.id in role.permissions],
            "held_by": holders.get(one.id, []),
        }
        for one in product.permissions
    ]
    return {**in_short(product), "permissions": rows, "complete": complete}


def _holders(product: ProductState, held: Iterable[RoleState], people: People) -> dict[str, list[Body]]:
    holders: defaultdict[str, list[Body]] = defaultdict(list)
    for role in held:
        for email in sorted(role.members):
            person = people.get((role.account, email))
            if person is not None and not person.is_active:
                continue
            name = person.name if person else None
            holder = {"account": role.account, "email": email, "name": name, "role": role.role, "role_name": role.name}
            for permission in permitted(role, product):
                holders[permission].append(holder)
    return holders
