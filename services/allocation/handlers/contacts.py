"""Saves and publishes the people of an account."""

from services.allocation.domain import people
from services.allocation.handlers.publishing import publish
from services.allocation.store.people import insert_person, lock_person, update_person
from shared.events.allocation import PersonChanged
from shared.events.ids import AccountId
from shared.events.refusals import Refusal
from shared.events.state import Person, PersonState
from shared.runtime.delivery.transaction import Transaction, TransientError


async def add_primary_contact(tx: Transaction, account: AccountId, contact: Person) -> Person | Refusal:
    """Make a subscription's primary contact a person of the account.

    Returns the contact under the name that the account has stored, if it has one.
    """
    before = await lock_person(tx.connection, account, contact.email)
    after = people.as_primary(before, account, contact)
    if isinstance(after, Refusal):
        return after
    await save_person(tx, before, after)
    return Person(email=after.email, name=after.name)


async def save_person(tx: Transaction, before: PersonState | None, after: PersonState) -> None:
    """Save and publish a person, unless nothing has changed.

    Raises:
        TransientError: another transaction has added the same person meanwhile; the batch is decided again.
    """
    if after is before:
        return
    if before is not None:
        await update_person(tx.connection, after)
    elif not await insert_person(tx.connection, after):
        raise TransientError(f"someone has just been added to {after.account}", delay_seconds=0)
    await publish(tx, after.email, PersonChanged(person=after))
