"""Sums of consumption across subscriptions, by windows."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Literal

from services.reporting.store.paging import Page, page, read_cursor
from shared.runtime.postgres.pool import Connection, Row

SummaryKey = Literal["product", "account", "subscription", "month"]

# A level counts for the time that its window shares with the period; what is burned down belongs to the period in which
# its window began.
_BY_KEY = """
SELECT key, count(DISTINCT subscription) AS subscriptions,
    sum(level * extract(epoch FROM least(window_end, $3) - greatest(window_start, $2)))
        / extract(epoch FROM $3::timestamptz - $2::timestamptz) AS average_level,
    coalesce(sum(added) FILTER (WHERE window_start >= $2), 0)::bigint AS burned_down
FROM (
    SELECT CASE $1::text WHEN 'product' THEN c.product WHEN 'account' THEN s.account ELSE s.id END AS key,
        c.subscription, c.level, c.added, c.window_start, c.window_end
    FROM consumption c JOIN subscriptions s ON s.id = c.subscription
    WHERE c.window_end > $2 AND c.window_start < $3
) AS keyed
WHERE key > $5
GROUP BY key ORDER BY key LIMIT $4
"""
_BY_MONTH = """
SELECT to_char(m.month AT TIME ZONE 'UTC', 'YYYY-MM') AS key, count(DISTINCT c.subscription) AS subscriptions,
    coalesce(sum(c.level * extract(epoch FROM least(c.window_end, m.until) - greatest(c.window_start, m.since))), 0)
        / extract(epoch FROM m.until - m.since) AS average_level,
    coalesce(sum(c.added) FILTER (WHERE c.window_start >= m.since), 0)::bigint AS burned_down
FROM (
    SELECT month, greatest(month, $1) AS since, least(month + interval '1 month', $2) AS until
    FROM generate_series(date_trunc('month', $1::timestamptz, 'UTC'), $2::timestamptz, interval '1 month', 'UTC')
        AS month
    WHERE month < $2
) AS m
LEFT JOIN consumption c ON c.window_end > m.since AND c.window_start < m.until
GROUP BY m.month, m.since, m.until HAVING to_char(m.month AT TIME ZONE 'UTC', 'YYYY-MM') > $4
ORDER BY 1 LIMIT $3
"""


@dataclass(frozen=True, slots=True)
class UsageSummary:
    """Consumption of a product, account, subscription or month.

    ``average_level``: units of the meters that start anew in each window, averaged over the time of the period;
    ``burned_down``: units that the windows which began in the period added to the meters that add up over the term.
    """

    key: str
    subscriptions: int
    average_level: Decimal
    burned_down: int


async def list_summaries(
    connection: Connection, by: SummaryKey, start: datetime, end: datetime, *, limit: int, cursor: str | None
) -> Page[UsageSummary]:
    """List the sums of all subscriptions from ``start`` to ``end``, by key."""
    place = read_cursor(cursor, 1)
    after = place[0] if place else ""
    if by == "month":
        rows = await connection.fetch(_BY_MONTH, start, end, limit + 1, after)
    else:
        rows = await connection.fetch(_BY_KEY, by, start, end, limit + 1, after)
    return page(rows, limit, _summary, lambda row: (row["key"],), "consumption")


def _summary(row: Row) -> UsageSummary:
    return UsageSummary(**dict(row))
