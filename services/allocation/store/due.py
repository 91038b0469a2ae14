"""When to look at each subscription next."""

from dataclasses import dataclass
from datetime import datetime

from shared.events.ids import ProductId, SubscriptionId
from shared.runtime.postgres import Connection

_INSERT = "INSERT INTO due_work (subscription, due_at) VALUES ($1, $2)"
_FIND = "SELECT due_at, marks FROM due_work WHERE subscription = $1"
_FIND_NEXT = "SELECT subscription FROM due_work WHERE due_at <= $1 ORDER BY due_at LIMIT $2"
_UPDATE = """
UPDATE due_work SET due_at = $2 WHERE subscription = $1 AND marks = $3 AND due_at IS DISTINCT FROM $2
"""
_BRING_FORWARD = """
UPDATE due_work SET due_at = $2 WHERE subscription = $1 AND (due_at IS NULL OR due_at > $2)
"""
_PUT_OFF = "UPDATE due_work SET due_at = $3 WHERE subscription = $1 AND due_at <= $2"
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


@dataclass(frozen=True, slots=True)
class Due:
    """When to look (``None``: never), and how often others have asked for a look."""

    at: datetime | None
    marks: int

    def is_now(self, now: datetime) -> bool:
        """Whether it is time."""
        return self.at is not None and self.at <= now


async def insert_due(connection: Connection, subscription: SubscriptionId, due_at: datetime | None) -> None:
    """Keep when to look at a new subscription."""
    await connection.execute(_INSERT, subscription, due_at)


async def find_due(connection: Connection, subscription: SubscriptionId) -> Due:
    """When to look at a subscription. Read it before what the look is at: see ``update_due``."""
    row = await connection.fetchrow(_FIND, subscription)
    return Due(row["due_at"], row["marks"]) if row else Due(None, 0)


async def find_next_due(connection: Connection, now: datetime, limit: int) -> list[SubscriptionId]:
    """Subscriptions to look at now, the longest due first."""
    return [row["subscription"] for row in await connection.fetch(_FIND_NEXT, now, limit)]


async def update_due(connection: Connection, subscription: SubscriptionId, seen: Due, due_at: datetime | None) -> None:
    """Write when to look next. Where someone has asked for a look since ``seen`` was read, it stays due."""
    if seen.at != due_at:
        await connection.execute(_UPDATE, subscription, due_at, seen.marks)


async def bring_forward(connection: Connection, subscription: SubscriptionId, due_at: datetime | None) -> None:
    """Look at it then at the latest."""
    if due_at is not None:
        await connection.execute(_BRING_FORWARD, subscription, due_at)


async def put_off(connection: Connection, subscription: SubscriptionId, now: datetime, until: datetime) -> None:
    """Look at it later, because looking failed."""
    await connection.execute(_PUT_OFF, subscription, now, until)


async def mark_users_of(connection: Connection, product: ProductId, now: datetime) -> None:
    """Have a look taken at every subscription that uses a product."""
    await connection.execute(_MARK_PRODUCT, product, now)


async def find_oldest_due(connection: Connection) -> datetime | None:
    """When the first look is due."""
    at: datetime | None = await connection.fetchval(_OLDEST)
    return at
