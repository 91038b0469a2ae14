"""Who may do what, in one table.

The documentation and the tests of every role with every command come from it.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal, get_args

from services.allocation.domain import refusals
from shared.events.ids import PersonId
from shared.events.refusals import Refusal
from shared.events.state import SubscriptionState

Role = Literal["vendor", "primary", "allocator", "viewer", "auditor", "useradmin"]
"""Roles of an actor.

``vendor`` is an operator of the vendor, and ``primary`` the subscription's primary contact. The others are delegates
of the primary contact.
"""

Action = Literal[
    "create-account",
    "set-flex",
    "create-product",
    "create-meter",
    "set-rate",
    "retire-product",
    "set-role-templates",
    "set-price-list",
    "create-subscription",
    "purchase-lot",
    "void-lot",
    "renew-subscription",
    "cancel-subscription",
    "convert-subscription",
    "lock-rates",
    "subscribe-product",
    "unsubscribe-product",
    "set-policy",
    "apply-plan",
    "override-plan",
    "set-primary-contact",
    "set-grants",
    "add-person",
    "change-person",
    "remove-person",
    "erase-person",
    "create-role",
    "change-role",
    "reset-role",
    "set-role-member",
]
"""Commands by their verbs; ``override-plan`` is a plan with an override reason."""

ROLES: Final[tuple[Role, ...]] = get_args(Role)
ACTIONS: Final[tuple[Action, ...]] = get_args(Action)

_VENDOR: Final[frozenset[Role]] = frozenset({"vendor"})
_CONTACT: Final[frozenset[Role]] = frozenset({"vendor", "primary"})
_PEOPLE: Final[frozenset[Role]] = frozenset({"vendor", "primary", "useradmin"})

MAY: Final[Mapping[Action, frozenset[Role]]] = MappingProxyType(
    {
        "create-account": _VENDOR,
        "set-flex": _VENDOR,
        "create-product": _VENDOR,
        "create-meter": _VENDOR,
        "set-rate": _VENDOR,
        "retire-product": _VENDOR,
        "set-role-templates": _VENDOR,
        "set-price-list": _VENDOR,
        "create-subscription": _VENDOR,
        "purchase-lot": _VENDOR,
        "void-lot": _VENDOR,
        "renew-subscription": _VENDOR,
        "cancel-subscription": _VENDOR,
        "convert-subscription": _VENDOR,
        "lock-rates": _VENDOR,
        "subscribe-product": _CONTACT,
        "unsubscribe-product": _VENDOR,
        "set-policy": _CONTACT,
        "apply-plan": frozenset({"primary", "allocator"}),
        "override-plan": _VENDOR,
        "set-primary-contact": _CONTACT,
        "set-grants": frozenset({"primary"}),
        "add-person": _PEOPLE,
        "change-person": _PEOPLE,
        "remove-person": _PEOPLE,
        "erase-person": frozenset({"vendor", "useradmin"}),
        "create-role": _PEOPLE,
        "change-role": _PEOPLE,
        "reset-role": _PEOPLE,
        "set-role-member": _PEOPLE,
    }
)

OPEN: Final[frozenset[Action]] = frozenset(
    {
        "create-account",
        "create-product",
        "create-meter",
        "set-rate",
        "retire-product",
        "set-role-templates",
        "set-price-list",
    }
)
"""Actions whose object is not secret.

A person without a role gets ``forbidden`` for them, not ``not_found``.
"""

_SENTENCES: Final[Mapping[Action, str]] = MappingProxyType(
    {
        "create-account": "Only the vendor may create accounts.",
        "set-flex": "Only the vendor may enable or disable flexible units.",
        "create-product": "Only the vendor may change the catalogue.",
        "create-meter": "Only the vendor may change the catalogue.",
        "set-rate": "Only the vendor may change the catalogue.",
        "retire-product": "Only the vendor may change the catalogue.",
        "set-role-templates": "Only the vendor may change the catalogue.",
        "set-price-list": "Only the vendor may change prices.",
        "create-subscription": "Only the vendor may create subscriptions.",
        "purchase-lot": "Only the vendor may sell units.",
        "void-lot": "Only the vendor may take a purchase back.",
        "renew-subscription": "Only the vendor may renew subscriptions.",
        "cancel-subscription": "Only the vendor may cancel subscriptions.",
        "convert-subscription": "Only the vendor may convert subscriptions.",
        "lock-rates": "Only the vendor may lock rates.",
        "unsubscribe-product": "Only the vendor may end the use of a product.",
        "subscribe-product": "Only the primary contact or the vendor may subscribe to a product.",
        "set-policy": "Only the primary contact or the vendor may choose the overage policy.",
        "apply-plan": "Only the primary contact or an allocator may change allocations; the vendor may with a reason.",
        "override-plan": "Only the vendor may override the rules of rebalancing.",
        "set-primary-contact": "Only the primary contact or the vendor may hand the subscription over.",
        "set-grants": "Only the primary contact may give or take grants.",
        **dict.fromkeys(
            ("add-person", "change-person", "remove-person"),
            "Only a primary contact, a user administrator or the vendor may manage people.",
        ),
        "erase-person": "Only a user administrator or the vendor may erase people.",
        **dict.fromkeys(
            ("create-role", "change-role", "reset-role", "set-role-member"),
            "Only a primary contact, a user administrator or the vendor may manage roles.",
        ),
    }
)


def sentence_of(action: Action) -> str:
    """Return the sentence for an actor without the right."""
    return _SENTENCES[action]


@dataclass(frozen=True, slots=True)
class Actor:
    """A verified person.

    ``person``: who they are in the account that their command concerns, or else a person without an account.
    """

    person: PersonId
    is_vendor: bool = False


def roles_of(actor: Actor, subscription: SubscriptionState | None) -> frozenset[Role]:
    """Return the roles of ``actor``, on ``subscription`` if there is one.

    An actor without any role may not know that the subscription exists.
    """
    roles: set[Role] = {"vendor"} if actor.is_vendor else set()
    if subscription is not None:
        if subscription.primary_contact == actor.person:
            roles.add("primary")
        roles.update(given.grant for given in subscription.grants if given.person == actor.person)
    return frozenset(roles)


def account_roles_of(actor: Actor, given: Iterable[str]) -> frozenset[Role]:
    """Return the roles of ``actor`` on an account.

    ``given`` are the roles that they have on any of its subscriptions.
    """
    roles = {role for role in ROLES if role in set(given)} - {"vendor"}
    return frozenset(roles | {"vendor"} if actor.is_vendor else roles)


def refusal_for(action: Action, roles: Collection[Role], *, known: bool = False, what: str) -> Refusal | None:
    """Return why these roles do not permit ``action``; ``None`` if they do.

    ``known``: the actor may know of ``what`` without a role on it.
    """
    if not MAY[action].isdisjoint(roles):
        return None
    if not roles and not known and action not in OPEN:
        return Refusal.not_found(what)
    return refusals.forbidden(_SENTENCES[action])
