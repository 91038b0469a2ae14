"""The caller's identity and their permissions in each subscription."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from services.reporting.domain import permissions
from services.reporting.domain.caller import Caller
from shared.events.state import SubscriptionState


@dataclass(frozen=True, slots=True)
class PermittedSubscription:
    """A subscription with the caller's strongest role in it.

    ``permissions`` are those of all their roles.
    """

    id: str
    account: str
    name: str
    role: str
    permissions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Me:
    """The caller's identity and their permissions in each subscription."""

    email: str
    name: str
    vendor: bool
    subscriptions: tuple[PermittedSubscription, ...]


def me_of(caller: Caller, subscriptions: Iterable[SubscriptionState], held: Mapping[str, Collection[str]]) -> Me:
    """Describe the caller and their permissions in these subscriptions.

    ``held``: their roles, by subscription.
    """
    mine = []
    for one in subscriptions:
        roles = permissions.sort_roles(caller, held.get(one.id, ()))
        mine.append(PermittedSubscription(one.id, one.account, one.name, roles[0], permissions.permissions_of(roles)))
    return Me(caller.email, caller.name, caller.vendor, tuple(mine))
