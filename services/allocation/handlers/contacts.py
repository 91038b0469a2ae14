"""Saves and publishes the people of an account."""

from services.allocation.domain import people
from services.allocation.handlers.publishing import publish_person
from services.allocation.store.people import insert_person, lock_person_of, update_person
from shared.events.ids import AccountId, PersonId, new_person_id
from shared.events.refusals import Refusal
from shared.events.state import Person, PersonState
from shared.runtime.delivery.transaction import Transaction, TransientError


async def add_primary_contact(tx: Transaction, account: AccountId, contact: Person) -> PersonId | Refusal:
    """Make a subscription's primary contact a person of the account.

    A person who is there already keeps the name that the account has stored.
    """
    before = await lock_person_of(tx.connection, account, contact.email)
    after = people.as_primary(before, account, contact, new_person_id())
    if isinstance(after, Refusal):
        return after
    await save_person(tx, before, after)
    return after.id


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
    await publish_person(tx, after)
