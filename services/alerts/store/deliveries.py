"""Deliveries of alerts to channels: due, claimed under a lease, settled once."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from services.alerts.domain.headroom import part_now
from services.alerts.store.watches import decode_reading_state
from shared.events.alerts import AlertState
from shared.events.ids import SubscriptionId
from shared.runtime.postgres.listen import wake_channel
from shared.runtime.postgres.pool import Connection, Row

CHANNEL = wake_channel("deliveries")
"""NOTIFY channel on which workers listen for new deliveries."""

_INSERT = """
WITH added AS (
    INSERT INTO deliveries (id, alert, channel, state, created_at, due_at)
    SELECT id, alert, channel, 'pending', $4, $4
    FROM unnest($1::text[], $2::text[], $3::text[]) AS new (id, alert, channel)
    ON CONFLICT (alert, channel) DO NOTHING
)
SELECT pg_notify('deliveries', '')
"""
_LOCK_CLAIMS = "SELECT pg_advisory_xact_lock(7302001)"
"""One worker claims at a time; two at once could each use a channel's whole share."""

# Channels with pending deliveries are found by an index skip scan, and of each only its share is read: a million
# deliveries of one channel cost the others nothing. ``place``: the position of a delivery in its customer's queue,
# behind those in flight; the first of each channel come first.
_FIND_DUE = """
WITH RECURSIVE busy AS (
    (SELECT channel FROM deliveries WHERE state = 'pending' ORDER BY channel LIMIT 1)
    UNION ALL
    SELECT (
        SELECT next.channel FROM deliveries AS next
        WHERE next.state = 'pending' AND next.channel > busy.channel ORDER BY next.channel LIMIT 1
    )
    FROM busy WHERE busy.channel IS NOT NULL
), loads AS (
    SELECT channels.id, channels.account, channels.subscription, flight.sent,
        sum(flight.sent) OVER (PARTITION BY channels.account) AS sent_of_account
    FROM busy
    JOIN channels ON channels.id = busy.channel
    CROSS JOIN LATERAL (
        SELECT count(*) AS sent FROM deliveries AS old
        WHERE old.channel = channels.id AND old.state = 'pending' AND old.lease IS NOT NULL AND old.due_at > $1
    ) AS flight
), due AS (
    SELECT next.id, next.due_at, loads.account, loads.subscription, loads.sent_of_account,
        loads.sent + row_number() OVER (PARTITION BY loads.id ORDER BY next.due_at, next.id) AS place_in_channel
    FROM loads
    CROSS JOIN LATERAL (
        SELECT old.id, old.due_at FROM deliveries AS old
        WHERE old.channel = loads.id AND old.state = 'pending' AND old.due_at <= $1 AND old.id <> ALL($5::text[])
        ORDER BY old.due_at LIMIT greatest(0, $2::bigint - loads.sent)
    ) AS next
), places AS (
    SELECT id, subscription, due_at,
        sent_of_account + row_number() OVER (PARTITION BY account ORDER BY place_in_channel, due_at, id) AS place
    FROM due
), ranked AS (
    SELECT id, subscription, place, row_number() OVER (ORDER BY place, due_at, id) AS rank
    FROM places WHERE place <= $3
)
SELECT id, subscription FROM ranked WHERE rank <= CASE WHEN place = 1 THEN $4::bigint ELSE $6::bigint END ORDER BY rank
"""
_CLAIM = """
WITH taken AS (
    UPDATE deliveries SET due_at = $2, lease = $3, attempts = attempts + 1 WHERE id = ANY($1::text[])
    RETURNING id, alert, channel, attempts, created_at
)
SELECT taken.id, taken.channel, taken.attempts, taken.created_at, alerts.body, channels.kind, channels.url,
    channels.sealed_url, channels.sealed_secret, channels.account, channels.removed_at, levels.part, levels.whole,
    subscriptions.readings, subscriptions.leeway
FROM taken
JOIN alerts ON alerts.id = taken.alert
JOIN subscriptions ON subscriptions.id = alerts.subscription
JOIN channels ON channels.id = taken.channel
LEFT JOIN levels ON levels.subscription = alerts.subscription AND levels.rule = alerts.body ->> 'rule'
    AND levels.product = coalesce(alerts.body ->> 'product', '')
"""
_FIND_NEXT_DUE = "SELECT min(due_at) FROM deliveries WHERE state = 'pending' AND due_at > $1"
_HAS_DUE = "SELECT EXISTS (SELECT FROM deliveries WHERE state = 'pending' AND due_at <= $1)"
_POSTPONE = """
UPDATE deliveries SET due_at = $3, lease = NULL, last_error = $4 WHERE id = $1 AND lease = $2 AND state = 'pending'
"""
_SETTLE = """
UPDATE deliveries SET state = $3, settled_at = $4, lease = NULL, last_error = $5
WHERE id = $1 AND lease = $2 AND state = 'pending'
RETURNING true
"""
_COUNT_PENDING = "SELECT count(*) FROM (SELECT FROM deliveries WHERE state = 'pending' LIMIT 100000) AS pending"


@dataclass(frozen=True, slots=True)
class NewDelivery:
    """One alert for one channel."""

    id: str
    alert: str
    channel: str


@dataclass(frozen=True, slots=True)
class Shares:
    """The shares within which deliveries are claimed.

    They are the most deliveries in flight per channel and per customer, and the ``free`` slots of this worker.
    ``reserved`` of the free slots are only for customers with nothing in flight.
    """

    channel: int
    customer: int
    free: int
    reserved: int


@dataclass(frozen=True, slots=True)
class DueDelivery:
    """A delivery that a worker may claim, and its subscription."""

    id: str
    subscription: SubscriptionId


@dataclass(frozen=True, slots=True)
class Delivery:
    """A delivery claimed until its lease ends.

    ``attempts`` includes the one that begins now. ``sealed_url`` is the channel's address, ``None`` where ``url`` still
    has it in plain text. ``part`` of ``whole`` units is the present share, ``None`` where it is no longer measured.
    """

    id: str
    lease: str
    channel: str
    kind: str
    url: str
    sealed_url: str | None
    sealed_secret: str
    account: str
    is_removed: bool
    attempts: int
    created_at: datetime
    alert: AlertState
    part: int | None
    whole: int | None


async def insert_deliveries(connection: Connection, deliveries: Sequence[NewDelivery], now: datetime) -> None:
    """Insert deliveries, due at once, and notify the workers at the commit."""
    columns = [[d.id for d in deliveries], [d.alert for d in deliveries], [d.channel for d in deliveries]]
    await connection.execute(_INSERT, *columns, now)


async def find_due(
    connection: Connection, now: datetime, shares: Shares, without: Sequence[str] = ()
) -> list[DueDelivery]:
    """Find due deliveries within their shares, except ids in ``without``.

    Customers with the fewest deliveries in flight come first. Other workers wait for the lock until the transaction
    ends.
    """
    await connection.execute(_LOCK_CLAIMS)
    second = max(0, shares.free - shares.reserved)
    rows = await connection.fetch(_FIND_DUE, now, shares.channel, shares.customer, shares.free, without, second)
    return [DueDelivery(row["id"], row["subscription"]) for row in rows]


async def claim_deliveries(
    connection: Connection, ids: Sequence[str], *, lease: str, until: datetime
) -> list[Delivery]:
    """Claim deliveries until ``until``.

    They are those that ``find_due`` returned in this transaction.
    """
    rows = await connection.fetch(_CLAIM, ids, until, lease)
    return [_delivery(row, AlertState.model_validate_json(row["body"]), lease) for row in rows]


def _delivery(row: Row, alert: AlertState, lease: str) -> Delivery:
    state = decode_reading_state(row["readings"], row["leeway"])
    part = None if state.headroom is None else part_now(state.headroom, state.readings, alert.rule, alert.product)
    return Delivery(
        id=row["id"],
        lease=lease,
        channel=row["channel"],
        kind=row["kind"],
        url=row["url"],
        sealed_url=row["sealed_url"],
        sealed_secret=row["sealed_secret"],
        account=row["account"],
        is_removed=row["removed_at"] is not None,
        attempts=row["attempts"],
        created_at=row["created_at"],
        alert=alert,
        part=row["part"] if part is None else part,
        whole=row["whole"],
    )


async def find_next_due(connection: Connection, now: datetime) -> datetime | None:
    """Find when the next delivery after ``now`` is due; ``None`` if there is none."""
    at: datetime | None = await connection.fetchval(_FIND_NEXT_DUE, now)
    return at


async def has_due(connection: Connection, now: datetime) -> bool:
    """Whether a delivery is due already, and so waits for its share."""
    return bool(await connection.fetchval(_HAS_DUE, now))


async def postpone_delivery(connection: Connection, delivery: Delivery, due_at: datetime, error: str) -> None:
    """Have a delivery retried at ``due_at``; no effect if the lease was lost."""
    await connection.execute(_POSTPONE, delivery.id, delivery.lease, due_at, error)


async def settle_delivery(
    connection: Connection, delivery: Delivery, state: str, at: datetime, error: str | None
) -> bool:
    """Settle a delivery as ``delivered`` or ``dead``.

    Return false if the lease was lost.
    """
    return bool(await connection.fetchval(_SETTLE, delivery.id, delivery.lease, state, at, error))


async def count_pending(connection: Connection) -> int:
    """Count pending deliveries, up to 100,000."""
    return int(await connection.fetchval(_COUNT_PENDING))
