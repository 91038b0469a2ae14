"""The people of an account, identified by their e-mail address.

Only active people can be given grants or roles.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from services.allocation.domain import refusals
from services.allocation.domain.subscriptions import Subscription
from shared import people
from shared.events.commands.accounts import AddPerson, ChangePerson
from shared.events.ids import AccountId, PersonId, SubscriptionId
from shared.events.refusals import Refusal
from shared.events.state import Grant, Person, PersonState

MAX_GRANTS: Final = 200
"""Largest number of grants of a subscription.

Events carry a subscription whole, and Kafka limits the size of a record.
"""

_NOT_ACTIVE: Final = ("email", "is no active person of this account")
_OF_OTHERS: Final = "This person belongs to subscriptions whose people you do not manage."
_HELD_ELSEWHERE: Final = (
    "This person also belongs to a subscription whose people you do not manage. You can disable them; only the vendor, "
    "and who manages the people of all their subscriptions, can remove them."
)
_TAKEN: Final = Refusal(code="already_exists", message="There is a person with this address already.")
_IS_PRIMARY: Final = ("email", "is a primary contact of this account: hand the subscription over first")


@dataclass(frozen=True, slots=True)
class NewPerson:
    """The id and the key of somebody who may be added."""

    id: PersonId
    text_key: str


def add(known: PersonState | None, command: AddPerson, new: NewPerson) -> PersonState | Refusal:
    """Add a person to an account.

    One who was removed comes back, as the same person, without their earlier grants and roles.
    """
    if (known is None or known.removed_at is not None) and (fault := people.fault_of(command.email)):
        return Refusal.invalid(("email", fault))
    if known is None:
        return PersonState(
            id=new.id,
            account=command.account,
            email=command.email,
            name=command.name,
            text_key=new.text_key,
            version=1,
        )
    if known.removed_at is None:
        return _TAKEN
    return known.model_copy(
        update={"name": command.name, "enabled": True, "removed_at": None, "version": known.version + 1}
    )


def as_primary(known: PersonState | None, account: AccountId, person: Person, new: NewPerson) -> PersonState | Refusal:
    """Return the primary contact of a new subscription as a person of the account.

    A contact who is not a person of the account yet, or was removed, is added.
    """
    if known is None or known.removed_at is not None:
        if fault := people.fault_of(person.email):
            return Refusal.invalid(("primary_contact.email", fault))
        asked = AddPerson.model_construct(account=account, email=person.email, name=person.name)
        return add(known, asked, new)
    if not known.is_active:
        return Refusal.invalid(("primary_contact.email", "is disabled in this account, or will be erased"))
    return known


def introduce(person: Person, new: NewPerson) -> PersonState:
    """Make a person without an account."""
    return PersonState(id=new.id, email=person.email, name=person.name, text_key=new.text_key, version=1)


def change(
    known: PersonState | None, command: ChangePerson, *, is_primary: bool, is_taken: bool
) -> PersonState | Refusal:
    """Change a person's address or name, or whether they are enabled.

    ``is_taken``: another person of the account has the new address. Returns the same value if nothing changes.
    """
    if known is None or known.removed_at is not None:
        return Refusal.not_found("person")
    if command.enabled is False and is_primary:
        return Refusal.invalid(_IS_PRIMARY)
    if is_taken:
        return _TAKEN
    if command.email not in (None, known.email) and (fault := people.fault_of(command.email)):
        return Refusal.invalid(("email", fault))
    asked = {"email": command.email, "name": command.name, "enabled": command.enabled}
    changes = {name: value for name, value in asked.items() if value not in (None, getattr(known, name))}
    return known.model_copy(update={**changes, "version": known.version + 1}) if changes else known


def remove(known: PersonState | None, now: datetime, *, is_primary: bool) -> PersonState | Refusal:
    """Remove a person from the account. Their history stays."""
    if known is None or known.removed_at is not None:
        return Refusal.not_found("person")
    if is_primary:
        return Refusal.invalid(_IS_PRIMARY)
    return known.model_copy(update={"enabled": False, "removed_at": now, "version": known.version + 1})


def erase_refusal(
    person: PersonState, actor: PersonId, *, leads: Sequence[SubscriptionId], alone: Sequence[SubscriptionId]
) -> Refusal | None:
    """Return why a person cannot be erased; ``None`` if they can.

    ``leads``: subscriptions whose primary contact they are. ``alone``: those with no other user administrator.
    """
    if person.id == actor:
        return refusals.forbidden("You cannot erase yourself. Ask another user administrator, or the vendor.")
    if leads:
        return Refusal.invalid(_IS_PRIMARY)
    if alone:
        message = f"is the last user administrator of {', '.join(alone)}: appoint another first"
        return Refusal.invalid(("email", message))
    return None


def mark_for_erasure(person: PersonState, at: datetime) -> PersonState:
    """Mark a person who will be erased; they get nothing more until then."""
    return person.model_copy(update={"erase_at": at, "version": person.version + 1})


@dataclass(frozen=True, slots=True)
class Reach:
    """Subscriptions of a person that the actor who wants to change them administers.

    ``holds``: subscriptions where the person has a grant, effective or not, or is the primary contact. ``managed`` and
    ``seen``: subscriptions whose people the actor may change, and see.
    """

    holds: frozenset[SubscriptionId]
    managed: frozenset[SubscriptionId]
    seen: frozenset[SubscriptionId]

    def change_refusal(self) -> Refusal | None:
        """Return why the actor may not change the person; ``None`` if they may.

        A change renames, disables or enables. The actor must manage the people of one of the person's subscriptions.
        One is enough, since the change can be undone, and is urgent when a person leaves.
        """
        if not self.holds or self.holds & self.managed:
            return None
        return refusals.forbidden(_OF_OTHERS) if self.holds & self.seen else Refusal.not_found("person")

    def remove_refusal(self) -> Refusal | None:
        """Return why the actor may not remove the person; ``None`` if they may.

        The actor must manage the people of all of the person's subscriptions, since a removal revokes the grants of all
        permanently.
        """
        if refusal := self.change_refusal():
            return refusal
        return None if self.holds <= self.managed else refusals.forbidden(_HELD_ELSEWHERE)


def not_active(person: PersonState | None) -> Refusal | None:
    """Return why a person cannot be given grants or roles; ``None`` if they can."""
    return None if person is not None and person.is_active else Refusal.invalid(_NOT_ACTIVE)


def hand_over(subscription: Subscription, person: PersonState | None, now: datetime) -> Subscription | Refusal:
    """Hand a subscription over to another primary contact.

    The new primary contact's own grants are removed, as they may do everything. The previous one has only what they are
    granted afterwards.
    """
    if refusal := subscription.refusal_for("set-primary-contact", now):
        return refusal
    if person is None or not person.is_active:
        return Refusal.invalid(_NOT_ACTIVE)
    state = subscription.state
    if state.primary_contact == person.id:
        return subscription
    grants = tuple(one for one in state.grants if one.person != person.id)
    return subscription.changed(now, primary_contact=person.id, grants=grants)


def grant_refusal(
    subscription: Subscription, person: PersonState | None, grants: Sequence[Grant], now: datetime
) -> Refusal | None:
    """Return why a person cannot have these grants; ``None`` if they can.

    Removing all grants is always possible.
    """
    if refusal := subscription.refusal_for("set-grants", now):
        return refusal
    errors, state = [], subscription.state
    if grants and (person is None or not person.is_active):
        errors.append(_NOT_ACTIVE)
    elif grants and person is not None and state.primary_contact == person.id:
        errors.append(("email", "is the primary contact, who may do everything"))
    if len(set(grants)) < len(grants):
        errors.append(("grants", "must not name a grant twice"))
    others = sum(person is None or one.person != person.id for one in state.grants)
    if grants and others + len(grants) > MAX_GRANTS:
        errors.append(("grants", f"a subscription has at most {MAX_GRANTS} grants"))
    return Refusal.invalid(*errors) if errors else None
