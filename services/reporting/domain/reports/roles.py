"""The report on roles: who holds what by which role, and how it differs.

Roles in applications are compared with their defaults.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from services.reporting.domain.permissions import PERMISSIONS, PRIMARY
from services.reporting.domain.reports.columns import Column, Row
from services.reporting.domain.reports.definitions import Report, ReportId
from services.reporting.domain.reports.parameters import ACCOUNT, FLAVOUR, PRODUCT, SUBSCRIPTION
from services.reporting.domain.roles import RoleMember, RoleView
from shared.events.state import SubscriptionState

ROLES: Final = Report(
    id=ReportId("roles-and-permissions"),
    title="Roles and permissions",
    description="One row per permission of a role and person who holds it, with its difference from the default role.",
    columns=(
        Column("account", "text", "Id of the account."),
        Column("subscription", "text", "Id of the subscription; empty: a role in an application.", nullable=True),
        Column("product", "text", "Product whose application it is; empty: a role in a subscription.", nullable=True),
        Column("role", "text", "Id of the role."),
        Column("role_name", "text", "Name of the role."),
        Column("permission", "text", "Permission; empty: the role has none.", nullable=True),
        Column("category", "text", "Category of the permission.", nullable=True),
        Column("description", "text", "What the permission permits.", nullable=True),
        Column(
            "difference",
            "text",
            "`none`, `added` to the default, or `removed` from it (nobody holds it); empty: there is no default.",
            nullable=True,
        ),
        Column("person", "text", "E-mail address of the person who holds it; empty: nobody.", nullable=True),
        Column("name", "text", "Name of the person.", nullable=True),
        Column("active", "boolean", "Whether the person is active; others hold nothing.", nullable=True),
    ),
    parameters=(SUBSCRIPTION, ACCOUNT, PRODUCT, FLAVOUR),
    audience="view_people",
    names_people=True,
)
_NAMES: Final = {
    PRIMARY: "Primary contact",
    "allocator": "Allocator",
    "auditor": "Auditor",
    "viewer": "Viewer",
    "useradmin": "User administrator",
}


def application_rows(view: RoleView, members: Sequence[RoleMember]) -> Iterator[Row]:
    """Yield the rows of a role in an application.

    ``members``: those whom the caller may see.
    """
    head = (view.account, None, view.product, view.role, view.name)
    added = set(view.difference.added) if view.difference else set()
    for one in view.permissions:
        difference = ("added" if one.permission in added else "none") if view.difference else None
        permission = (one.permission, one.category, one.description, difference)
        yield from _held(head, permission, members)
    for removed in view.difference.removed if view.difference else ():
        yield (*head, removed, None, None, "removed", None, None, None)
    if not view.permissions:
        yield from _held(head, (None, None, None, None), members)


def subscription_rows(state: SubscriptionState, members: Iterable[tuple[str, RoleMember]]) -> Iterator[Row]:
    """Yield the rows of the roles in a subscription.

    ``members``: pairs of role and person, of those whom the caller may see.
    """
    for role, member in members:
        head = (state.account, state.id, None, role, _NAMES.get(role, role))
        for permission in PERMISSIONS.get(role, ()):
            yield from _held(head, (permission, None, None, None), [member])


def _held(head: Row, permission: Row, members: Sequence[RoleMember]) -> Iterator[Row]:
    if not members:
        yield (*head, *permission, None, None, None)
    for member in members:
        yield (*head, *permission, member.email, member.name, member.active)
