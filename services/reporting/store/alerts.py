"""Alerts, alert channels, and the outcomes of deliveries."""

from typing import Any

from services.reporting.store.allocations import read_time
from services.reporting.store.notifications import notify_subscription
from services.reporting.store.paging import Page, page, read_cursor
from shared.events.alerts import AlertState, ChannelState, DeliverySettled
from shared.runtime.postgres.pool import Connection, Row

_UPSERT_ALERT = """
INSERT INTO alerts (id, subscription, version, raised_at, lifecycle, state) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (id) DO UPDATE SET version = excluded.version, lifecycle = excluded.lifecycle, state = excluded.state
WHERE alerts.version < excluded.version
RETURNING true
"""
_FIND_ALERT = "SELECT state FROM alerts WHERE id = $1 AND subscription = $2"
_LIST_ALERTS = """
SELECT id, raised_at, state FROM alerts
WHERE subscription = $1 AND ($3::timestamptz IS NULL OR (raised_at, id) < ($3, $4))
    AND (NOT $5 OR lifecycle <> 'resolved')
ORDER BY raised_at DESC, id DESC LIMIT $2
"""
_UPSERT_CHANNEL = """
INSERT INTO channels (id, subscription, version, removed_at, state) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (id) DO UPDATE SET version = excluded.version, removed_at = excluded.removed_at, state = excluded.state
WHERE channels.version < excluded.version
RETURNING true
"""
_FIND_CHANNEL = "SELECT state FROM channels WHERE id = $1 AND subscription = $2"
_LIST_CHANNELS = """
SELECT id, state FROM channels WHERE subscription = $1 AND id > $3 AND removed_at IS NULL ORDER BY id LIMIT $2
"""
_INSERT_DELIVERY = """
INSERT INTO deliveries (id, alert, subscription, channel, outcome, attempts, settled_at, last_error)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (id) DO UPDATE SET
    outcome = excluded.outcome, attempts = excluded.attempts, settled_at = excluded.settled_at,
    last_error = excluded.last_error
WHERE deliveries.settled_at < excluded.settled_at
"""


async def upsert_alert(connection: Connection, state: AlertState) -> None:
    """Upsert the state unless the stored one is as new, and notify watchers."""
    row = (state.id, state.subscription, state.version, state.raised_at, state.state, state.model_dump_json())
    if await connection.fetchval(_UPSERT_ALERT, *row):
        await notify_subscription(connection, state.subscription, "alert")


async def find_alert(connection: Connection, subscription: str, alert: str) -> AlertState | None:
    """Find an alert of a subscription."""
    state = await connection.fetchval(_FIND_ALERT, alert, subscription)
    return None if state is None else AlertState.model_validate_json(state)


async def list_alerts(
    connection: Connection, subscription: str, limit: int, cursor: str | None, *, active_only: bool = False
) -> Page[AlertState]:
    """List a subscription's alerts, newest first."""
    place: list[Any] = [*(read_cursor(cursor, 2) or (None, None))]
    if place[0] is not None:
        place[0] = read_time(place[0])
    rows = await connection.fetch(_LIST_ALERTS, subscription, limit + 1, *place, active_only)
    return page(rows, limit, _alert, lambda row: (row["raised_at"].isoformat(), row["id"]), "alerts")


def _alert(row: Row) -> AlertState:
    return AlertState.model_validate_json(row["state"])


async def upsert_channel(connection: Connection, state: ChannelState) -> None:
    """Upsert the state unless the stored one is as new, and notify watchers."""
    row = (state.id, state.subscription, state.version, state.removed_at, state.model_dump_json())
    if await connection.fetchval(_UPSERT_CHANNEL, *row):
        await notify_subscription(connection, state.subscription, "channel")


async def find_channel(connection: Connection, subscription: str, channel: str) -> ChannelState | None:
    """Find a channel of a subscription, removed or not."""
    state = await connection.fetchval(_FIND_CHANNEL, channel, subscription)
    return None if state is None else ChannelState.model_validate_json(state)


async def list_channels(
    connection: Connection, subscription: str, limit: int, cursor: str | None
) -> Page[ChannelState]:
    """List the channels in use, by id."""
    place = read_cursor(cursor, 1)
    rows = await connection.fetch(_LIST_CHANNELS, subscription, limit + 1, place[0] if place else "")
    return page(rows, limit, _channel, lambda row: (row["id"],), "channels")


def _channel(row: Row) -> ChannelState:
    return ChannelState.model_validate_json(row["state"])


async def upsert_delivery(connection: Connection, settled: DeliverySettled) -> None:
    """Upsert a delivery's outcome unless the stored one is as late."""
    await connection.execute(
        _INSERT_DELIVERY,
        settled.delivery,
        settled.alert,
        settled.subscription,
        settled.channel,
        settled.outcome,
        settled.attempts,
        settled.settled_at,
        settled.last_error,
    )
