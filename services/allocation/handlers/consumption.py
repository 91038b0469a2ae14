"""The projection of metering.consumption."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from services.allocation.store.consumption import delete_expired, mark_affected, upsert_consumption
from shared.events.metering import ConsumptionSnapshot
from shared.runtime.delivery.transaction import Transaction
from shared.runtime.postgres.pool import Connection

KEPT: Final = timedelta(days=400)
"""As long as the topic keeps them. Of products in use only the last windows are kept anyway."""
ROWS: Final = 1000


async def apply_consumption(tx: Transaction, snapshots: Iterable[ConsumptionSnapshot]) -> None:
    """Keep the newest snapshot of each product and window, and have looked at whatever that brings about."""
    newest: dict[str, ConsumptionSnapshot] = {}
    for one in snapshots:
        if one.key not in newest or newest[one.key].revision < one.revision:
            newest[one.key] = one
    if newest:
        await upsert_consumption(tx.connection, [newest[key] for key in sorted(newest)])
        await mark_affected(tx.connection, {one.subscription for one in newest.values()}, tx.now)


async def expire_consumption(connection: Connection, now: datetime) -> int:
    """Forget snapshots that even the topic has forgotten; how many."""
    total = deleted = await delete_expired(connection, now - KEPT, ROWS)
    while deleted == ROWS:
        deleted = await delete_expired(connection, now - KEPT, ROWS)
        total += deleted
    return total
