"""The permissions of a person in a subscription and its account.

Allocation checks them again for commands.
"""

from collections.abc import Collection, Iterable
from types import MappingProxyType

from services.reporting.domain.caller import Caller

VENDOR = "vendor"
PRIMARY = "primary"

VIEW = "view"
VIEW_PEOPLE = "view_people"
VIEW_AUDIT = "view_audit"
ERASE_PEOPLE = "erase_people"
_VIEWS = (VIEW, "view_history", "view_alerts")
_PEOPLE = (VIEW_PEOPLE, "manage_people", "manage_roles")
_CONTROLS = ("subscribe_product", "set_policy", "hand_over", "acknowledge_alerts", "manage_channels")

PERMISSIONS: MappingProxyType[str, tuple[str, ...]] = MappingProxyType(
    {
        VENDOR: (
            *_VIEWS,
            VIEW_AUDIT,
            *_PEOPLE,
            ERASE_PEOPLE,
            *_CONTROLS,
            "purchase",
            "void_purchase",
            "renew",
            "cancel",
            "convert",
            "lock_rates",
            "unsubscribe_product",
            "override_rebalance",
        ),
        PRIMARY: (*_VIEWS, VIEW_AUDIT, *_PEOPLE, *_CONTROLS, "manage_grants", "allocate", "rebalance"),
        "allocator": (*_VIEWS, "allocate", "rebalance", "acknowledge_alerts"),
        "auditor": (*_VIEWS, VIEW_AUDIT, VIEW_PEOPLE),
        "viewer": _VIEWS,
        "useradmin": (*_PEOPLE, ERASE_PEOPLE),
    }
)
"""By role, the strongest first."""


def sort_roles(caller: Caller, roles: Collection[str]) -> tuple[str, ...]:
    """Sort the caller's roles in a subscription, strongest first.

    ``vendor`` is added for vendor operators. Empty: the subscription is invisible to them.
    """
    return tuple(role for role in PERMISSIONS if role in roles or (role == VENDOR and caller.vendor))


def permissions_of(roles: Iterable[str]) -> tuple[str, ...]:
    """Return the permissions of all these roles together."""
    return tuple(dict.fromkeys(permission for role in roles for permission in PERMISSIONS[role]))


def roles_with(permission: str) -> tuple[str, ...]:
    """Return the roles that have a permission."""
    return tuple(role for role, permissions in PERMISSIONS.items() if permission in permissions)
