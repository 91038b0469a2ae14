"""Saves and publishes the people of an account."""

from services.allocation.domain import people
from services.allocation.domain.people import NewPerson
from services.allocation.handlers.publishing import publish_person
from services.allocation.store.people import insert_person, lock_person_of, update_person
from shared.events.ids import AccountId, PersonId, new_person_id, new_text_key
from shared.events.refusals import Refusal
from shared.events.state import Person, PersonState
from shared.runtime.delivery.transaction import Transaction, TransientError


def new_person() -> NewPerson:
    """Return an id and a key for somebody who may be added."""
    return NewPerson(new_person_id(), new_text_key())


async def add_primary_contact(tx: Transaction, account: AccountId, contact: Person) -> PersonId | Refusal:
    """Make a subscription's primary contact a person of the account.

    A person who is there already keeps the name that the account has stored.
    """
    before = await lock_person_of(tx.connection, account, contact.email)
    after = people.as_primary(before, account, contact, new_person())
    if isinstance(after, Refusal):
        return after
    await save_person(tx, before, after)
    return after.id


async def save_person(tx: Transaction, before: PersonState | None, after: PersonState) -> None:
    """Save and publish a person, unless nothing has changed.

    Raises:
        TransientError: another transaction has given the same address; the batch is decided again.
    """
    if after is before:
        return
    saved = await (insert_person(tx.connection, after) if before is None else update_person(tx.connection, after))
    if not saved:
        raise TransientError("this address was given to another person meanwhile", delay_seconds=0)
    await publish_person(tx, after)
