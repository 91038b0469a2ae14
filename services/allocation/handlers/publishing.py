"""Publishes events under the Kafka key of the command that caused them, so that its outcome follows them.

Readers keep the newest version of each aggregate, so the key does not matter to them.
"""

from shared.events.envelope import Payload
from shared.events.topics import ALLOCATION_EVENTS_TOPIC
from shared.runtime.delivery.transaction import Transaction


async def publish(tx: Transaction, subject: str, event: Payload) -> None:
    """Publish an event about ``subject``, which is also its key where no command caused it."""
    key = tx.record.key if tx.record is not None and tx.cause is not None else subject
    await tx.emit(ALLOCATION_EVENTS_TOPIC, key, event, subject=subject)
