"""Who the caller is, what they may do, where."""

from collections.abc import Iterable
from dataclasses import dataclass

from services.reporting.domain import permissions
from services.reporting.domain.caller import Caller
from shared.events.state import SubscriptionState


@dataclass(frozen=True, slots=True)
class PermittedSubscription:
    """A subscription, the caller's strongest role in it, and what all their roles in it permit."""

    id: str
    account: str
    name: str
    role: str
    permissions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Me:
    """Who the caller is, what they may do, where."""

    email: str
    name: str
    vendor: bool
    subscriptions: tuple[PermittedSubscription, ...]


def me_of(caller: Caller, subscriptions: Iterable[SubscriptionState]) -> Me:
    """The caller, and what they may do in these subscriptions."""
    mine = []
    for one in subscriptions:
        roles = permissions.roles_of(caller, one)
        mine.append(PermittedSubscription(one.id, one.account, one.name, roles[0], permissions.permissions_of(roles)))
    return Me(caller.email, caller.name, caller.vendor, tuple(mine))
