"""People of an account, and their grants and roles in its subscriptions."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from shared.events.state import Grant, PersonState, SubscriptionState

ERASED: Final = "Erased person"
_ID: Final = re.compile(r"[0-9a-f]{32}")
_SHOWN_DIGITS: Final = 4


def is_person_id(text: str) -> bool:
    """Whether a text has the form of a person's id."""
    return _ID.fullmatch(text) is not None


def address_of(person: str, known: Mapping[str, PersonState]) -> str:
    """Return a person's address; who is not known is shown as erased."""
    return known[person].email if person in known else erased(person)


def erased(person: str) -> str:
    """Return what is shown in place of a person whose name and address are gone."""
    return f"{ERASED} {person[:_SHOWN_DIGITS]}"


@dataclass(frozen=True, slots=True)
class GivenRole:
    """A role that a person has in a subscription."""

    subscription: str
    role: str


class AccountPerson(PersonState):
    """A person of an account, with their roles in its subscriptions."""

    subscriptions: tuple[GivenRole, ...]


def account_person(state: PersonState, grants: Iterable[tuple[str, str]]) -> AccountPerson:
    """Combine a person with ``grants``: pairs of subscription and role."""
    return AccountPerson(**dict(state), subscriptions=tuple(GivenRole(*one) for one in grants))


@dataclass(frozen=True, slots=True)
class DelegateGrants:
    """The grants of a delegate in a subscription."""

    subscription: str
    email: str
    name: str | None
    grants: tuple[Grant, ...]


def delegate_grants(state: SubscriptionState, id: str, person: PersonState | None) -> DelegateGrants:
    """Collect a person's grants, of which there may be none.

    ``person`` ``None``: nothing is known of them.
    """
    grants = tuple(one.grant for one in state.grants if one.person == id)
    return DelegateGrants(state.id, person.email if person else erased(id), person.name if person else None, grants)
