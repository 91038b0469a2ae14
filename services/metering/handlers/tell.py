"""Changes of the quarantine and of the books are told a moment later, in pieces: never by the batch that made them."""

from services.metering.store import telling
from shared.events.quarantine import BooksChanged
from shared.events.topics import METERING_EVENTS_TOPIC
from shared.runtime import outbox
from shared.runtime.delivery import Transaction

OUTBOX_FULL = 5_000
"""While so much waits for Kafka nothing is added: what is untold stays so."""


async def tell_quarantine(tx: Transaction, limit: int) -> int:
    """Tell some changes of the quarantine; how many."""
    if await _is_full(tx):
        return 0
    told = await telling.take_quarantined(tx.connection, limit)
    for product, payload in told:
        await tx.emit(METERING_EVENTS_TOPIC, product, payload, subject=product)
    return len(told)


async def tell_books(tx: Transaction, limit: int) -> int:
    """Tell some lines of the books that changed; how many."""
    if await _is_full(tx):
        return 0
    lines = await telling.take_lines(tx.connection, limit)
    for line in lines:
        await tx.emit(METERING_EVENTS_TOPIC, line.product, BooksChanged(line=line), subject=line.product)
    return len(lines)


async def _is_full(tx: Transaction) -> bool:
    pending, _ = await outbox.measure(tx.connection)
    return pending >= OUTBOX_FULL
