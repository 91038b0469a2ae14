"""Due times of subscriptions.

A due time says when the next change of a subscription without a command may be due.
"""

from collections.abc import Sequence
from datetime import datetime

from services.allocation.domain.subscriptions import Subscription
from shared.events.ids import ProductId, SubscriptionId
from shared.runtime.postgres.pool import Connection

_INSERT = "INSERT INTO due_work (subscription, due_at) VALUES ($1, $2)"
_FIND_NEXT = """
SELECT subscription FROM due_work WHERE due_at <= $1 AND subscription <> ALL ($3) ORDER BY due_at LIMIT $2
"""
_UPDATE = """
UPDATE due_work SET due_at = $2 WHERE subscription = $1 AND marks = $3 AND due_at IS DISTINCT FROM $2
"""
_BRING_FORWARD = """
UPDATE due_work SET due_at = $2 WHERE subscription = $1 AND (due_at IS NULL OR due_at > $2)
"""
_MARK_PRODUCT = """
WITH marked AS (
    SELECT d.subscription
    FROM due_work AS d
    JOIN allocations AS a ON a.subscription = d.subscription
    WHERE a.product = $1 AND a.ended_at IS NULL
    ORDER BY d.subscription
    FOR NO KEY UPDATE OF d
)
UPDATE due_work AS d SET due_at = least(d.due_at, $2), marks = d.marks + 1
FROM marked WHERE d.subscription = marked.subscription
"""
_OLDEST = "SELECT due_at FROM due_work WHERE due_at IS NOT NULL ORDER BY due_at LIMIT 1"


async def insert_due(connection: Connection, subscription: SubscriptionId, due_at: datetime | None) -> None:
    """Insert the due time of a new subscription."""
    await connection.execute(_INSERT, subscription, due_at)


async def find_next_due(
    connection: Connection, now: datetime, limit: int, left_out: Sequence[SubscriptionId] = ()
) -> list[SubscriptionId]:
    """Find due subscriptions, the longest due first, except ``left_out``."""
    return [row["subscription"] for row in await connection.fetch(_FIND_NEXT, now, limit, left_out)]


async def update_due(connection: Connection, loaded: Subscription, due_at: datetime | None) -> None:
    """Update the due time of a subscription.

    One that was marked since it was loaded stays due.
    """
    if loaded.due_at != due_at:
        await connection.execute(_UPDATE, loaded.state.id, due_at, loaded.marks)


async def bring_forward(connection: Connection, loaded: Subscription, due_at: datetime | None) -> None:
    """Set a subscription's due time to ``due_at``, if that is earlier or it has none."""
    if due_at is not None and (loaded.due_at is None or due_at < loaded.due_at):
        await connection.execute(_BRING_FORWARD, loaded.state.id, due_at)


async def mark_users_of(connection: Connection, product: ProductId, now: datetime) -> None:
    """Mark every subscription that uses a product as due."""
    await connection.execute(_MARK_PRODUCT, product, now)


async def find_oldest_due(connection: Connection) -> datetime | None:
    """Find the oldest due time; ``None`` if no subscription has any."""
    at: datetime | None = await connection.fetchval(_OLDEST)
    return at
