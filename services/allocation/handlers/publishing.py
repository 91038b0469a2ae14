"""What happened is told under the Kafka key of the command that caused it, so that its outcome follows.

A reader keeps the newest version of each aggregate, so the key does not context to it.
"""

from shared.events.envelope import Payload
from shared.events.topics import ALLOCATION_EVENTS_TOPIC
from shared.runtime.delivery.transaction import Transaction


async def publish(tx: Transaction, subject: str, event: Payload) -> None:
    """Publish what happened to ``subject``, which is also the key where no command caused it."""
    key = tx.record.key if tx.record is not None and tx.cause is not None else subject
    await tx.emit(ALLOCATION_EVENTS_TOPIC, key, event, subject=subject)
