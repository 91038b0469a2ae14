"""Changes of the quarantine and of the books are told a moment later, in pieces: never by the batch that made them."""

from collections.abc import Sequence

from services.metering.handlers.isolated_work import do_each
from services.metering.store import unpublished_changes
from shared.events.envelope import Payload
from shared.events.metering import event_key
from shared.events.quarantine import BooksChanged
from shared.events.topics import METERING_EVENTS_TOPIC
from shared.runtime.delivery import outbox
from shared.runtime.delivery.set_aside_work import SetAside
from shared.runtime.delivery.transaction import Transaction
from shared.runtime.postgres.pool import Row

WORK = "telling"
OUTBOX_FULL = 5_000
"""While so much waits for Kafka nothing is added: what is untold stays so."""


async def tell_quarantine(tx: Transaction, limit: int) -> int:
    """Tell some changes of the quarantine; how many."""
    if await _is_full(tx):
        return 0
    rows = await unpublished_changes.take_quarantined(tx.connection, WORK, tx.now, limit)
    told: list[Payload] = []

    async def tell(some: Sequence[Row]) -> None:
        for row in some:
            key = event_key(row["product"], row["subscription"])
            for payload in unpublished_changes.payloads_of(row):
                await tx.emit(METERING_EVENTS_TOPIC, key, payload, subject=row["product"])
                told.append(payload)

    left = await do_each(
        tx,
        SetAside(WORK),
        rows,
        tell,
        key=lambda row: str(row["id"]),
        whose=lambda row: row["subscription"] or f"record {row['id']}",
    )
    await unpublished_changes.leave_untold(tx.connection, [row["id"] for row in left])
    return len(told)


async def tell_books(tx: Transaction, limit: int) -> int:
    """Tell some lines of the books that changed; how many."""
    if await _is_full(tx):
        return 0
    lines = await unpublished_changes.take_lines(tx.connection, limit)
    for line in lines:
        await tx.emit(METERING_EVENTS_TOPIC, line.product, BooksChanged(line=line), subject=line.product)
    return len(lines)


async def _is_full(tx: Transaction) -> bool:
    pending, _ = await outbox.measure(tx.connection)
    return pending >= OUTBOX_FULL
