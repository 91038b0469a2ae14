"""Roles within products.

They are a product's default roles, and the customised and own roles of an account.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

from services.allocation.domain import refusals
from services.allocation.domain.size_limits import is_too_large
from shared.events.commands.accounts import ChangeRole, CreateRole
from shared.events.commands.catalogue import SetRoleTemplates
from shared.events.ids import AccountId, PermissionId, ProductId, RoleId
from shared.events.refusals import Refusal
from shared.events.state import Permission, ProductState, RoleState, RoleTemplate

MAX_ROLES: Final = 1000
MAX_MEMBERS: Final = 1000
"""Largest number of members of a role.

Events carry a role whole, and Kafka limits the size of a record.
"""

STANDARD_VERSION: Final = 1
"""Version of the standard set below.

A product has the set of its creation until its own is set.
"""

STANDARD_PERMISSIONS: Final[tuple[tuple[str, str, str], ...]] = (
    ("page.use", "Access", "Sign in to the application's pages"),
    ("api.use", "Access", "Use the application's API"),
    ("data.read", "Data", "See what the application has found"),
    ("data.export", "Data", "Take data out of the application"),
    ("tasks.run", "Operation", "Start and stop the application's tasks"),
    ("resources.change", "Operation", "Add, change and remove what the application looks at"),
    ("settings.read", "Administration", "See the application's settings"),
    ("settings.change", "Administration", "Change the application's settings"),
    ("audit.read", "Oversight", "See who did what in the application"),
)
_EVERYTHING: Final = tuple(one[0] for one in STANDARD_PERMISSIONS)
STANDARD_ROLES: Final[tuple[tuple[str, str, tuple[str, ...]], ...]] = (
    ("Manager", "Does everything, and administers the application", _EVERYTHING),
    (
        "Operator",
        "Runs the application day by day, and leaves its settings alone",
        ("page.use", "api.use", "data.read", "data.export", "tasks.run", "resources.change", "settings.read"),
    ),
    ("Reader", "Sees what was found, and changes nothing", ("page.use", "data.read")),
    ("Auditor", "Sees who did what and how it is set up", ("page.use", "data.read", "settings.read", "audit.read")),
)
"""The default roles of a new product: suffix of the name, one line, permissions."""


def with_standard_roles(product: ProductState) -> ProductState:
    """Give the product the standard permissions and default roles."""
    permissions = tuple(
        Permission(id=PermissionId(permission), category=category, description=description)
        for permission, category, description in STANDARD_PERMISSIONS
    )
    roles = tuple(
        RoleTemplate(
            role=RoleId(f"{product.id}-{kind.lower()}"),
            name=f"{product.name[:150]} {kind}",
            summary=summary,
            permissions=tuple(map(PermissionId, granted)),
        )
        for kind, summary, granted in STANDARD_ROLES
    )
    update = {"permissions": permissions, "roles": roles, "roles_version": STANDARD_VERSION}
    return product.model_copy(update=update)


def set_templates(
    product: ProductState,
    command: SetRoleTemplates,
    elsewhere: Mapping[RoleId, ProductId],
    own: Collection[RoleId],
) -> ProductState | Refusal:
    """Set the product's permissions and default roles.

    Returns the same value if that changes nothing. ``elsewhere`` has default roles of other products by their ids, and
    ``own`` the ids that accounts gave to roles of their own.
    """
    if product.retired_at is not None:
        return refusals.product_retired(product.id)
    errors = [
        *_repeated("permissions", "id", [one.id for one in command.permissions]),
        *_repeated("roles", "role", [one.role for one in command.roles]),
        *_unplain(command),
    ]
    known = {one.id for one in command.permissions}
    for place, role in enumerate(command.roles):
        field = f"roles.{place}"
        errors += [(f"{field}.permissions", message) for message in _faults(role.permissions, known)]
        if role.role in elsewhere:
            errors.append((f"{field}.role", f"is a default role of the product {elsewhere[role.role]!r}"))
        if role.role in own:
            errors.append((f"{field}.role", "is a role that a customer has made"))
    gone = {one.role for one in product.roles} - {one.role for one in command.roles}
    errors += [("roles", f"must keep the default role {role!r}, which accounts have") for role in sorted(gone)]
    if errors:
        return Refusal.invalid(*errors)
    if (product.permissions, product.roles) == (command.permissions, command.roles):
        return product
    after = product.model_copy(
        update={
            "permissions": command.permissions,
            "roles": command.roles,
            "roles_version": product.roles_version + 1,
            "version": product.version + 1,
        }
    )
    return Refusal.invalid(("roles", "make the product too large")) if is_too_large(after) else after


def defaults(account: AccountId, product: ProductState) -> tuple[RoleState, ...]:
    """Copy a product's default roles for an account from the present templates."""
    return tuple(
        RoleState(account=account, role=one.role, product=product.id, name=one.name, is_default=True, version=1)
        for one in product.roles
    )


def create(command: CreateRole, product: ProductState, *, taken: bool, count: int) -> RoleState | Refusal:
    """Create a role of the account's own.

    ``taken``: a default role has its id, so it is refused. ``count``: how many roles the account has already.
    """
    if product.retired_at is not None:
        return refusals.product_retired(product.id)
    if taken:
        return Refusal.already_exists("role", command.role)
    if errors := _permission_errors(command.permissions, product):
        return Refusal.invalid(*errors)
    if count >= MAX_ROLES:
        return Refusal.invalid(("role", f"an account has at most {MAX_ROLES} roles"))
    return RoleState(
        account=command.account,
        role=command.role,
        product=command.product,
        name=command.name,
        is_default=False,
        customised=command.permissions,
        version=1,
    )


def change(role: RoleState, command: ChangeRole, product: ProductState) -> RoleState | Refusal:
    """Change a role's name or permissions.

    Returns the same value if that changes nothing. A default role whose permissions are set becomes customised, based
    on the present templates.
    """
    if product.retired_at is not None:
        return refusals.product_retired(product.id)
    changes: dict[str, object] = {}
    if command.name is not None and command.name != role.name:
        changes["name"] = command.name
    if command.permissions is not None and command.permissions != role.customised:
        if errors := _permission_errors(command.permissions, product):
            return Refusal.invalid(*errors)
        changes["customised"] = command.permissions
        changes["based_on"] = product.roles_version if role.is_default else None
    return role.model_copy(update={**changes, "version": role.version + 1}) if changes else role


def reset(role: RoleState, product: ProductState) -> RoleState | Refusal:
    """Reset a default role to its present template, name included.

    Returns the same value if nothing changes.
    """
    if product.retired_at is not None:
        return refusals.product_retired(product.id)
    template = next((one for one in product.roles if one.role == role.role), None)
    if not role.is_default or template is None:
        return Refusal.invalid(("role", "has no default: it is a role of the account's own"))
    if role.customised is None and role.name == template.name:
        return role
    return role.model_copy(
        update={"name": template.name, "customised": None, "based_on": None, "version": role.version + 1}
    )


def _permission_errors(permissions: Sequence[PermissionId], product: ProductState) -> list[tuple[str, str]]:
    return [("permissions", message) for message in _faults(permissions, {one.id for one in product.permissions})]


def _faults(permissions: Sequence[PermissionId], known: Collection[PermissionId]) -> list[str]:
    faults = [f"the product has no permission {one!r}" for one in dict.fromkeys(permissions) if one not in known]
    if len(set(permissions)) < len(permissions):
        faults.append("must not name a permission twice")
    return faults


def _repeated(field: str, part: str, ids: Sequence[str]) -> Iterable[tuple[str, str]]:
    seen: set[str] = set()
    for place, one in enumerate(ids):
        if one in seen:
            yield f"{field}.{place}.{part}", f"there is another {one!r}"
        seen.add(one)


def _unplain(command: SetRoleTemplates) -> Iterable[tuple[str, str]]:
    texts = [
        *((f"permissions.{n}.category", one.category) for n, one in enumerate(command.permissions)),
        *((f"permissions.{n}.description", one.description) for n, one in enumerate(command.permissions)),
        *((f"roles.{n}.name", one.name) for n, one in enumerate(command.roles)),
        *((f"roles.{n}.summary", one.summary) for n, one in enumerate(command.roles)),
    ]
    for field, text in texts:
        if any(character in text for character in "<>&"):
            yield field, "must not contain <, > or &"
