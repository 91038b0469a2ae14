"""The projection of metering.consumption."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from services.allocation.store.consumption import delete_expired, mark_affected, upsert_consumption
from shared.events.metering import ConsumptionSnapshot
from shared.runtime.delivery.transaction import Transaction
from shared.runtime.postgres.pool import Connection

RETENTION: Final = timedelta(days=400)
"""Retention of snapshots, as long as the topic's.

Of products in use only the last windows are stored anyway.
"""
ROWS: Final = 1000


async def apply_consumption(tx: Transaction, snapshots: Iterable[ConsumptionSnapshot]) -> None:
    """Save the newest snapshot of each product and window.

    The subscriptions whose state that changes are marked as due.
    """
    newest: dict[str, ConsumptionSnapshot] = {}
    for one in snapshots:
        if one.key not in newest or newest[one.key].revision < one.revision:
            newest[one.key] = one
    if newest:
        await upsert_consumption(tx.connection, [newest[key] for key in sorted(newest)])
        await mark_affected(tx.connection, {one.subscription for one in newest.values()}, tx.now)


async def expire_consumption(connection: Connection, now: datetime) -> int:
    """Delete snapshots older than the topic's retention; the number deleted."""
    total = deleted = await delete_expired(connection, now - RETENTION, ROWS)
    while deleted == ROWS:
        deleted = await delete_expired(connection, now - RETENTION, ROWS)
        total += deleted
    return total
