"""Publishes events under the Kafka key of the command that caused them.

The outcome of the command, which has the same key, thus follows them.

Readers keep the newest version of each aggregate, so the key does not matter to them.
"""

from shared.events.allocation import PersonChanged
from shared.events.envelope import Payload
from shared.events.state import PersonState
from shared.events.topics import ALLOCATION_EVENTS_TOPIC, ALLOCATION_PEOPLE_TOPIC
from shared.runtime.delivery.transaction import Transaction


async def publish(tx: Transaction, subject: str, event: Payload) -> None:
    """Publish an event about ``subject``.

    The subject is also the event's key where no command caused it.
    """
    key = tx.record.key if tx.record is not None and tx.cause is not None else subject
    await tx.emit(ALLOCATION_EVENTS_TOPIC, key, event, subject=subject)


async def publish_person(tx: Transaction, person: PersonState) -> None:
    """Publish a person on the topic of people, by their id."""
    await tx.emit(ALLOCATION_PEOPLE_TOPIC, person.id, PersonChanged(person=person), subject=person.id)
