"""Deliveries: work that is due, taken under a lease, and settled once."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from services.alerts.domain.leeway import part_now
from services.alerts.store.watches import standing_of
from shared.events.alerts import AlertState
from shared.runtime.postgres import Connection, Row

CHANNEL = "deliveries"
"""Where workers listen for new rows."""

_INSERT = """
WITH added AS (
    INSERT INTO deliveries (id, alert, channel, state, created_at, due_at)
    SELECT id, alert, channel, 'pending', $4, $4
    FROM unnest($1::text[], $2::text[], $3::text[]) AS new (id, alert, channel)
    ON CONFLICT (alert, channel) DO NOTHING
)
SELECT pg_notify('deliveries', '')
"""
_CLAIM = """
WITH due AS (
    SELECT id FROM deliveries
    WHERE state = 'pending' AND due_at <= $1
    ORDER BY due_at LIMIT $2
    FOR UPDATE SKIP LOCKED
), taken AS (
    UPDATE deliveries AS old SET due_at = $3, lease = $4, attempts = old.attempts + 1
    FROM due WHERE old.id = due.id
    RETURNING old.id, old.alert, old.channel, old.attempts, old.created_at
)
SELECT taken.id, taken.channel, taken.attempts, taken.created_at, alerts.body, channels.kind, channels.url,
    channels.sealed_secret, channels.removed_at, levels.part, levels.whole, subscriptions.readings, subscriptions.leeway
FROM taken
JOIN alerts ON alerts.id = taken.alert
JOIN subscriptions ON subscriptions.id = alerts.subscription
JOIN channels ON channels.id = taken.channel
LEFT JOIN levels ON levels.subscription = alerts.subscription AND levels.rule = alerts.body ->> 'rule'
    AND levels.product = coalesce(alerts.body ->> 'product', '')
"""
_FIND_NEXT_DUE = "SELECT min(due_at) FROM deliveries WHERE state = 'pending'"
_POSTPONE = """
UPDATE deliveries SET due_at = $3, lease = NULL, last_error = $4 WHERE id = $1 AND lease = $2 AND state = 'pending'
"""
_SETTLE = """
UPDATE deliveries SET state = $3, settled_at = $4, lease = NULL, last_error = $5
WHERE id = $1 AND lease = $2 AND state = 'pending'
RETURNING true
"""
_COUNT_PENDING = "SELECT count(*) FROM deliveries WHERE state = 'pending'"


@dataclass(frozen=True, slots=True)
class NewDelivery:
    """One alert for one channel."""

    id: str
    alert: str
    channel: str


@dataclass(frozen=True, slots=True)
class Delivery:
    """A delivery that is ours until its lease ends. ``attempts`` counts the one that begins now.

    ``part`` of ``whole`` is where the share stands at present, ``None`` where it is no longer measured.
    """

    id: str
    lease: str
    channel: str
    kind: str
    url: str
    sealed_secret: str
    is_removed: bool
    attempts: int
    created_at: datetime
    alert: AlertState
    part: int | None
    whole: int | None


async def insert_deliveries(connection: Connection, deliveries: Sequence[NewDelivery], now: datetime) -> None:
    """Add work, due at once, and wake the workers when the transaction commits."""
    columns = [[d.id for d in deliveries], [d.alert for d in deliveries], [d.channel for d in deliveries]]
    await connection.execute(_INSERT, *columns, now)


async def claim_deliveries(
    connection: Connection, now: datetime, *, limit: int, lease: str, lease_for: timedelta
) -> list[Delivery]:
    """Take what is due and nobody else holds."""
    rows = await connection.fetch(_CLAIM, now, limit, now + lease_for, lease)
    return [_delivery(row, AlertState.model_validate_json(row["body"]), lease) for row in rows]


def _delivery(row: Row, alert: AlertState, lease: str) -> Delivery:
    standing = standing_of(row["readings"], row["leeway"])
    part = None if standing.leeway is None else part_now(standing.leeway, standing.readings, alert.rule, alert.product)
    return Delivery(
        id=row["id"],
        lease=lease,
        channel=row["channel"],
        kind=row["kind"],
        url=row["url"],
        sealed_secret=row["sealed_secret"],
        is_removed=row["removed_at"] is not None,
        attempts=row["attempts"],
        created_at=row["created_at"],
        alert=alert,
        part=row["part"] if part is None else part,
        whole=row["whole"],
    )


async def find_next_due(connection: Connection) -> datetime | None:
    """When the next delivery is due."""
    at: datetime | None = await connection.fetchval(_FIND_NEXT_DUE)
    return at


async def postpone_delivery(connection: Connection, delivery: Delivery, due_at: datetime, error: str) -> None:
    """Try again at ``due_at``; nothing happens when the lease was lost."""
    await connection.execute(_POSTPONE, delivery.id, delivery.lease, due_at, error)


async def settle_delivery(
    connection: Connection, delivery: Delivery, state: str, at: datetime, error: str | None
) -> bool:
    """End it as ``delivered`` or ``dead``; false when the lease was lost and somebody else decides."""
    return bool(await connection.fetchval(_SETTLE, delivery.id, delivery.lease, state, at, error))


async def count_pending(connection: Connection) -> int:
    """How many deliveries are not settled."""
    return int(await connection.fetchval(_COUNT_PENDING))
