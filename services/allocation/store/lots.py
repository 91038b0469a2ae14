"""Purchase lots."""

from typing import Any

from shared.events.ids import SubscriptionId
from shared.events.state import Lot, Price
from shared.runtime.postgres.pool import Connection

_UPSERT = """
INSERT INTO lots (
    subscription, id, place, units, starts_at, ends_at, order_reference, purchased_at, voided_at, void_reason, price
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
ON CONFLICT (subscription, id) DO UPDATE SET voided_at = EXCLUDED.voided_at, void_reason = EXCLUDED.void_reason
"""


async def upsert_lot(connection: Connection, subscription: SubscriptionId, place: int, lot: Lot) -> None:
    """Insert a lot, or save that it was voided.

    This transaction has locked its subscription.
    """
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


def lot_of(row: tuple[Any, ...]) -> Lot:
    """Decode a lot, as ``subscription_sql`` selects it."""
    id, units, start, end, order_reference, purchased_at, voided_at, void_reason, price = row  # noqa: A001
    return Lot(
        id=id,
        units=units,
        start=start,
        end=end,
        order_reference=order_reference,
        purchased_at=purchased_at,
        voided_at=voided_at,
        void_reason=void_reason,
        price=Price.model_validate_json(price) if price else None,
    )
