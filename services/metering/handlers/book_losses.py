"""Usage records that will never be read are told in the books: they expired unread, or somebody stepped over them."""

from services.metering.domain.reasons import UNKNOWN
from services.metering.store import books
from services.metering.store.books import Line
from shared.events.topics import product_of
from shared.runtime.delivery.offsets import Loss
from shared.runtime.delivery.transaction import Transaction


async def book_lost(tx: Transaction, topic: str, loss: Loss) -> None:
    """Book a loss on the day on which it is noticed; of a product's own topic, its product is known."""
    line = Line(tx.now.date(), loss.partition, UNKNOWN, product_of(topic) or UNKNOWN)
    await books.book_lost(tx.connection, line, loss.records)
