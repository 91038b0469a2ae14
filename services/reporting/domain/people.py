"""People of an account, and their grants and roles in its subscriptions."""

from collections.abc import Iterable
from dataclasses import dataclass

from shared.events.state import Grant, PersonState, SubscriptionState


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


def delegate_grants(state: SubscriptionState, email: str, person: PersonState | None) -> DelegateGrants:
    """Collect a delegate's grants, of which there may be none."""
    grants = tuple(one.grant for one in state.grants if one.email == email)
    return DelegateGrants(state.id, email, person.name if person else None, grants)
