"""Whom an account knows: kept and told in one place."""

from services.allocation.domain import people
from services.allocation.handlers.publishing import publish
from services.allocation.store.people import insert_person, lock_person, update_person
from shared.events.allocation import PersonChanged
from shared.events.ids import AccountId
from shared.events.refusals import Refusal
from shared.events.state import Person, PersonState
from shared.runtime.delivery.transaction import Transaction, TransientError


async def know_primary_contact(tx: Transaction, account: AccountId, contact: Person) -> Person | Refusal:
    """Whoever becomes a subscription's primary contact is a person of the account, under the name known there."""
    before = await lock_person(tx.connection, account, contact.email)
    after = people.as_primary(before, account, contact)
    if isinstance(after, Refusal):
        return after
    await keep_person(tx, before, after)
    return Person(email=after.email, name=after.name)


async def keep_person(tx: Transaction, before: PersonState | None, after: PersonState) -> None:
    """Keep and tell what has become of someone, if anything.

    Raises:
        TransientError: someone else has added them in the meantime; then everything is decided again.
    """
    if after is before:
        return
    if before is not None:
        await update_person(tx.connection, after)
    elif not await insert_person(tx.connection, after):
        raise TransientError(f"someone has just been added to {after.account}", delay_seconds=0)
    await publish(tx, after.email, PersonChanged(person=after))
