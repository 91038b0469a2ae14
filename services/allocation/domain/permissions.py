"""Who may do what: one table. The documentation and the tests of every role with every command come from it."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal, get_args

from services.allocation.domain import refusals
from shared.events.refusals import Refusal
from shared.events.state import SubscriptionState

Role = Literal["vendor", "primary", "allocator", "viewer", "auditor", "useradmin"]
"""``vendor``: an operator of the vendor. ``primary``: the subscription's primary contact. The rest: its delegates."""

Action = Literal[
    "create-account",
    "set-flex",
    "create-product",
    "create-meter",
    "set-rate",
    "create-subscription",
    "purchase-lot",
    "subscribe-product",
    "set-policy",
    "apply-plan",
    "override-plan",
]
"""What is decided on: the commands by their verbs; ``override-plan`` is a plan with an override reason."""

ROLES: Final[tuple[Role, ...]] = get_args(Role)
ACTIONS: Final[tuple[Action, ...]] = get_args(Action)

_VENDOR: Final[frozenset[Role]] = frozenset({"vendor"})

MAY: Final[Mapping[Action, frozenset[Role]]] = MappingProxyType(
    {
        "create-account": _VENDOR,
        "set-flex": _VENDOR,
        "create-product": _VENDOR,
        "create-meter": _VENDOR,
        "set-rate": _VENDOR,
        "create-subscription": _VENDOR,
        "purchase-lot": _VENDOR,
        "subscribe-product": frozenset({"vendor", "primary"}),
        "set-policy": frozenset({"vendor", "primary"}),
        "apply-plan": frozenset({"primary", "allocator"}),
        "override-plan": _VENDOR,
    }
)

OPEN: Final[frozenset[Action]] = frozenset({"create-account", "create-product", "create-meter", "set-rate"})
"""Actions whose object is no secret: a stranger is told ``forbidden``, not ``not_found``."""

_SENTENCES: Final[Mapping[Action, str]] = MappingProxyType(
    {
        "create-account": "Only the vendor may create accounts.",
        "set-flex": "Only the vendor may enable or disable flexible units.",
        "create-product": "Only the vendor may change the catalogue.",
        "create-meter": "Only the vendor may change the catalogue.",
        "set-rate": "Only the vendor may change the catalogue.",
        "create-subscription": "Only the vendor may create subscriptions.",
        "purchase-lot": "Only the vendor may sell units.",
        "subscribe-product": "Only the primary contact or the vendor may subscribe to a product.",
        "set-policy": "Only the primary contact or the vendor may choose the overage policy.",
        "apply-plan": "Only the primary contact or an allocator may change allocations; the vendor may with a reason.",
        "override-plan": "Only the vendor may override the rules of rebalancing.",
    }
)


@dataclass(frozen=True, slots=True)
class Actor:
    """A verified person."""

    email: str
    is_vendor: bool = False


def roles_of(actor: Actor, subscription: SubscriptionState | None) -> frozenset[Role]:
    """The roles that ``actor`` has, on ``subscription`` where there is one. None: a stranger."""
    roles: set[Role] = {"vendor"} if actor.is_vendor else set()
    if subscription is not None:
        if subscription.primary_contact.email == actor.email:
            roles.add("primary")
        roles.update(given.grant for given in subscription.grants if given.email == actor.email)
    return frozenset(roles)


def refusal_for(action: Action, roles: Collection[Role], *, known: bool = False, what: str) -> Refusal | None:
    """Why someone with these roles may not; ``None`` when they may.

    ``known``: they may know of ``what`` for another reason than a role on it.
    """
    if not MAY[action].isdisjoint(roles):
        return None
    if not roles and not known and action not in OPEN:
        return refusals.not_found(what)
    return refusals.forbidden(_SENTENCES[action])
