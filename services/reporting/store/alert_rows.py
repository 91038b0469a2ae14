"""Alerts in the order of subscription and time, and deliveries, for reports."""

from dataclasses import dataclass
from datetime import datetime

from services.reporting.domain.reports.alerts import SettledDelivery
from services.reporting.store.subscription_batches import Scope
from shared.runtime.postgres.pool import Connection, Row

_ALERTS = """
SELECT id, subscription, raised_at, state FROM alerts
WHERE (subscription, raised_at, id) > ($1, $2, $3)
    AND raised_at <= $5 AND ($6::timestamptz IS NULL OR raised_at >= $6)
    AND ($7::timestamptz IS NULL OR raised_at < $7) AND ($8::text IS NULL OR state ->> 'product' = $8)
    AND ($9::text IS NULL OR state ->> 'account' = $9)
ORDER BY subscription, raised_at, id LIMIT $4
"""
_ALERTS_OF_SOME = """
SELECT id, subscription, raised_at, state FROM alerts
WHERE subscription = ANY($10::text[]) AND (subscription, raised_at, id) > ($1, $2, $3)
    AND raised_at <= $5 AND ($6::timestamptz IS NULL OR raised_at >= $6)
    AND ($7::timestamptz IS NULL OR raised_at < $7) AND ($8::text IS NULL OR state ->> 'product' = $8)
    AND ($9::text IS NULL OR state ->> 'account' = $9)
ORDER BY subscription, raised_at, id LIMIT $4
"""
_COUNT_ALERTS = """
SELECT count(*) FROM alerts
WHERE ($4::text[] IS NULL OR subscription = ANY($4)) AND raised_at <= $1
    AND ($2::timestamptz IS NULL OR raised_at >= $2) AND ($3::timestamptz IS NULL OR raised_at < $3)
"""
_DELIVERIES = """
SELECT d.id, d.alert, d.subscription, d.channel, c.state ->> 'kind', c.state ->> 'url', d.outcome, d.attempts,
    d.settled_at, d.last_error
FROM deliveries AS d LEFT JOIN channels AS c ON c.id = d.channel
WHERE (d.subscription, d.id) > ($1, $2)
    AND ($4::timestamptz IS NULL OR d.settled_at >= $4) AND ($5::timestamptz IS NULL OR d.settled_at < $5)
    AND ($6::text IS NULL OR d.subscription IN (SELECT id FROM subscriptions WHERE account = $6))
ORDER BY d.subscription, d.id LIMIT $3
"""
_DELIVERIES_OF_SOME = """
SELECT d.id, d.alert, d.subscription, d.channel, c.state ->> 'kind', c.state ->> 'url', d.outcome, d.attempts,
    d.settled_at, d.last_error
FROM deliveries AS d LEFT JOIN channels AS c ON c.id = d.channel
WHERE d.subscription = ANY($7::text[]) AND (d.subscription, d.id) > ($1, $2)
    AND ($4::timestamptz IS NULL OR d.settled_at >= $4) AND ($5::timestamptz IS NULL OR d.settled_at < $5)
    AND ($6::text IS NULL OR d.subscription IN (SELECT id FROM subscriptions WHERE account = $6))
ORDER BY d.subscription, d.id LIMIT $3
"""
_COUNT_DELIVERIES = """
SELECT count(*) FROM deliveries
WHERE ($3::text[] IS NULL OR subscription = ANY($3))
    AND ($1::timestamptz IS NULL OR settled_at >= $1) AND ($2::timestamptz IS NULL OR settled_at < $2)
"""


@dataclass(frozen=True, slots=True)
class Raised:
    """The alerts to read.

    They were raised until ``as_of``, inclusive, and from ``start`` to ``end``.
    """

    as_of: datetime
    start: datetime | None
    end: datetime | None
    product: str | None


async def load_alerts(
    connection: Connection, after: tuple[str, datetime, str], limit: int, scope: Scope, wanted: Raised
) -> list[Row]:
    """Load the rows (id, subscription, raised_at, state) that follow ``after``."""
    values = (*after, limit, wanted.as_of, wanted.start, wanted.end, wanted.product, scope.account)
    if scope.subscriptions is None:
        return await connection.fetch(_ALERTS, *values)
    return await connection.fetch(_ALERTS_OF_SOME, *values, list(scope.subscriptions))


async def count_alerts(connection: Connection, scope: Scope, wanted: Raised) -> int:
    """Count alerts; those of other products and accounts are counted too."""
    values = (wanted.as_of, wanted.start, wanted.end, scope.subscriptions)
    return int(await connection.fetchval(_COUNT_ALERTS, *values))


async def load_deliveries(
    connection: Connection,
    after: tuple[str, str],
    limit: int,
    scope: Scope,
    times: tuple[datetime | None, datetime | None],
) -> list[SettledDelivery]:
    """Load the deliveries that follow ``after``: subscription and delivery.

    ``times``: settled from the first and before the second.
    """
    values = (*after, limit, *times, scope.account)
    if scope.subscriptions is None:
        rows = await connection.fetch(_DELIVERIES, *values)
    else:
        rows = await connection.fetch(_DELIVERIES_OF_SOME, *values, list(scope.subscriptions))
    return [SettledDelivery(*row) for row in rows]


async def count_deliveries(connection: Connection, scope: Scope, times: tuple[datetime | None, datetime | None]) -> int:
    """Count deliveries; those of other accounts are counted too."""
    return int(await connection.fetchval(_COUNT_DELIVERIES, *times, scope.subscriptions))
