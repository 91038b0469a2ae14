"""Alerts in their newest version."""

from collections.abc import Sequence

from shared.events.alerts import AlertState
from shared.events.ids import SubscriptionId
from shared.runtime.postgres.pool import Connection

_LOAD_OPEN = """
SELECT body FROM alerts WHERE subscription = ANY($1::text[]) AND state <> 'resolved' ORDER BY raised_at, id
"""
_FIND = "SELECT body FROM alerts WHERE id = $1 AND subscription = $2"
_UPSERT = """
INSERT INTO alerts (id, subscription, state, version, raised_at, body)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::integer[], $5::timestamptz[], $6::jsonb[])
ON CONFLICT (id) DO UPDATE SET state = excluded.state, version = excluded.version, body = excluded.body
WHERE alerts.version < excluded.version
"""


async def load_open_alerts(
    connection: Connection, subscriptions: Sequence[SubscriptionId]
) -> dict[SubscriptionId, list[AlertState]]:
    """Load open alerts, oldest first, by subscription."""
    found: dict[SubscriptionId, list[AlertState]] = {}
    for row in await connection.fetch(_LOAD_OPEN, subscriptions):
        alert = AlertState.model_validate_json(row["body"])
        found.setdefault(alert.subscription, []).append(alert)
    return found


async def find_alert(connection: Connection, subscription: SubscriptionId, alert: str) -> AlertState | None:
    """Find an alert of a subscription, open or resolved."""
    body = await connection.fetchval(_FIND, alert, subscription)
    return None if body is None else AlertState.model_validate_json(body)


async def upsert_alerts(connection: Connection, alerts: Sequence[AlertState]) -> None:
    """Save alerts; of several versions of one, and of the stored one, the newest wins."""
    newest = list({alert.id: alert for alert in sorted(alerts, key=lambda alert: alert.version)}.values())
    await connection.execute(
        _UPSERT,
        [alert.id for alert in newest],
        [alert.subscription for alert in newest],
        [alert.state for alert in newest],
        [alert.version for alert in newest],
        [alert.raised_at for alert in newest],
        [alert.model_dump_json() for alert in newest],
    )
