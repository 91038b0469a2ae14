"""Purchase lots."""

from shared.events.ids import SubscriptionId
from shared.events.state import Lot
from shared.runtime.postgres import Connection

_INSERT = """
INSERT INTO lots (subscription, id, place, units, starts_at, ends_at, order_reference, purchased_at)
VALUES ($1, $2, (SELECT count(*) FROM lots WHERE subscription = $1), $3, $4, $5, $6, $7)
"""


async def insert_lot(connection: Connection, subscription: SubscriptionId, lot: Lot) -> None:
    """Keep a lot of a subscription that this transaction has locked."""
    await connection.execute(
        _INSERT, subscription, lot.id, lot.units, lot.start, lot.end, lot.order_reference, lot.purchased_at
    )
