"""Purchase lots."""

from shared.events.ids import SubscriptionId
from shared.events.state import Lot, Price
from shared.runtime.postgres import Connection

_UPSERT = """
INSERT INTO lots (
    subscription, id, place, units, starts_at, ends_at, order_reference, purchased_at, voided_at, void_reason, price
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
ON CONFLICT (subscription, id) DO UPDATE SET voided_at = EXCLUDED.voided_at, void_reason = EXCLUDED.void_reason
"""
_LOAD = """
SELECT id, units, starts_at, ends_at, order_reference, purchased_at, voided_at, void_reason, price
FROM lots WHERE subscription = $1 ORDER BY place
"""


async def upsert_lot(connection: Connection, subscription: SubscriptionId, place: int, lot: Lot) -> None:
    """Keep a lot of a subscription that this transaction has locked, or that it is void."""
    await connection.execute(
        _UPSERT,
        subscription,
        lot.id,
        place,
        lot.units,
        lot.start,
        lot.end,
        lot.order_reference,
        lot.purchased_at,
        lot.voided_at,
        lot.void_reason,
        lot.price.model_dump_json() if lot.price else None,
    )


async def load_lots(connection: Connection, subscription: SubscriptionId) -> tuple[Lot, ...]:
    """All lots, in the order in which they were bought."""
    return tuple(
        Lot(
            id=row["id"],
            units=row["units"],
            start=row["starts_at"],
            end=row["ends_at"],
            order_reference=row["order_reference"],
            purchased_at=row["purchased_at"],
            voided_at=row["voided_at"],
            void_reason=row["void_reason"],
            price=Price.model_validate_json(row["price"]) if row["price"] else None,
        )
        for row in await connection.fetch(_LOAD, subscription)
    )
