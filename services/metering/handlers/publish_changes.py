"""Publication of changes of the quarantine and the books.

They are published in portions, after the batch that made them.
"""

from collections.abc import Sequence

from services.metering.handlers.isolated_work import run_isolated
from services.metering.store import unpublished_changes
from shared.events.envelope import Payload
from shared.events.metering import event_key
from shared.events.quarantine import BooksChanged
from shared.events.topics import METERING_EVENTS_TOPIC
from shared.runtime.delivery import outbox
from shared.runtime.delivery.set_aside_work import SetAside
from shared.runtime.delivery.transaction import Transaction
from shared.runtime.postgres.pool import Row

WORK = "telling"  # the name in ``set_aside_work`` and in metrics, which must not change
OUTBOX_FULL = 5_000
"""Number of rows in the outbox from which on nothing is added.

Changes stay unpublished until there are fewer.
"""


async def publish_quarantine_changes(tx: Transaction, limit: int) -> int:
    """Publish at most ``limit`` changed rows of the quarantine.

    Return the number of events. Nothing is published while the outbox is full. Rows that fail are set aside; their
    events may be in the number.
    """
    if await _is_full(tx):
        return 0
    rows = await unpublished_changes.take_quarantine_changes(tx.connection, WORK, tx.now, limit)
    published: list[Payload] = []

    async def publish(some: Sequence[Row]) -> None:
        for row in some:
            key = event_key(row["product"], row["subscription"])
            for payload in unpublished_changes.events_of(row):
                await tx.emit(METERING_EVENTS_TOPIC, key, payload, subject=row["product"])
                published.append(payload)

    left = await run_isolated(
        tx,
        SetAside(WORK),
        rows,
        publish,
        key=lambda row: str(row["id"]),
        whose=lambda row: row["subscription"] or f"record {row['id']}",
    )
    await unpublished_changes.mark_unpublished(tx.connection, [row["id"] for row in left])
    return len(published)


async def publish_book_changes(tx: Transaction, limit: int) -> int:
    """Publish at most ``limit`` changed lines of the books. Return their number.

    It is 0 while the outbox is full.
    """
    if await _is_full(tx):
        return 0
    lines = await unpublished_changes.take_book_changes(tx.connection, limit)
    for line in lines:
        await tx.emit(METERING_EVENTS_TOPIC, line.product, BooksChanged(line=line), subject=line.product)
    return len(lines)


async def _is_full(tx: Transaction) -> bool:
    pending, _ = await outbox.measure(tx.connection)
    return pending >= OUTBOX_FULL
