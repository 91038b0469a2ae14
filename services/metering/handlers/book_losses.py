"""Usage records that will never be read, entered in the books as lost.

They expired unread, or an operator skipped them.
"""

from services.metering.domain.reasons import UNKNOWN
from services.metering.store import books
from services.metering.store.books import Line
from shared.events.topics import product_of
from shared.runtime.delivery.offsets import Loss
from shared.runtime.delivery.transaction import Transaction


async def book_lost(tx: Transaction, topic: str, loss: Loss) -> None:
    """Book a loss on the day on which it is noticed.

    The product is known only for a product's own topic.
    """
    line = Line(tx.now.date(), loss.partition, UNKNOWN, product_of(topic) or UNKNOWN)
    await books.book_lost(tx.connection, line, loss.records)
