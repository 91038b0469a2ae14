"""People of an account, and what they were given in its subscriptions."""

from collections.abc import Iterable
from dataclasses import dataclass

from shared.events.state import Grant, PersonState, SubscriptionState


@dataclass(frozen=True, slots=True)
class GivenRole:
    """In which subscription somebody has which role."""

    subscription: str
    role: str


class AccountPerson(PersonState):
    """Someone of an account, and what they were given."""

    subscriptions: tuple[GivenRole, ...]


def account_person(state: PersonState, grants: Iterable[tuple[str, str]]) -> AccountPerson:
    """Someone of an account; ``grants`` are subscriptions and roles."""
    return AccountPerson(**dict(state), subscriptions=tuple(GivenRole(*one) for one in grants))


@dataclass(frozen=True, slots=True)
class DelegateGrants:
    """What a delegate was given in a subscription."""

    subscription: str
    email: str
    name: str | None
    grants: tuple[Grant, ...]


def delegate_grants(state: SubscriptionState, email: str, person: PersonState | None) -> DelegateGrants:
    """What a delegate was given: perhaps nothing."""
    grants = tuple(one.grant for one in state.grants if one.email == email)
    return DelegateGrants(state.id, email, person.name if person else None, grants)
