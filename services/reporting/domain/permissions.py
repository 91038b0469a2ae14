"""What a person may do with a subscription. Allocation decides again before anything is changed."""

from collections.abc import Iterable
from types import MappingProxyType

from services.reporting.domain.caller import Caller
from shared.events.state import SubscriptionState

VENDOR = "vendor"
PRIMARY = "primary"

VIEW = "view"
_VIEWS = (VIEW, "view_history", "view_alerts")

PERMISSIONS: MappingProxyType[str, tuple[str, ...]] = MappingProxyType(
    {
        VENDOR: (
            *_VIEWS,
            "view_audit",
            "purchase",
            "subscribe_product",
            "allocate",
            "rebalance",
            "override_rebalance",
            "set_policy",
            "acknowledge_alerts",
            "manage_channels",
        ),
        PRIMARY: (
            *_VIEWS,
            "view_audit",
            "subscribe_product",
            "allocate",
            "rebalance",
            "set_policy",
            "acknowledge_alerts",
            "manage_channels",
        ),
        "allocator": (*_VIEWS, "allocate", "rebalance", "acknowledge_alerts"),
        "auditor": (*_VIEWS, "view_audit"),
        "viewer": _VIEWS,
        "useradmin": ("manage_people",),
    }
)
"""By role, the strongest first."""

AUDIT_ROLES = tuple(role for role, permissions in PERMISSIONS.items() if "view_audit" in permissions)


def roles_of(caller: Caller, subscription: SubscriptionState) -> tuple[str, ...]:
    """All roles that the caller has in a subscription, the strongest first; empty: it is none of their concern."""
    held = {grant.grant for grant in subscription.grants if grant.email == caller.email}
    mine: set[str] = set(held)
    if caller.vendor:
        mine.add(VENDOR)
    if subscription.primary_contact.email == caller.email:
        mine.add(PRIMARY)
    return tuple(role for role in PERMISSIONS if role in mine)


def permissions_of(roles: Iterable[str]) -> tuple[str, ...]:
    """What the roles permit together."""
    return tuple(dict.fromkeys(permission for role in roles for permission in PERMISSIONS[role]))
