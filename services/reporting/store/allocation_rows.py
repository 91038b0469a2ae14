"""Changes of allocations in the order of subscription and time, for reports."""

from dataclasses import dataclass
from datetime import datetime

from services.reporting.domain.reports.allocation_history import AllocationChange
from services.reporting.store.subscription_batches import Scope
from shared.runtime.postgres.pool import Connection

_ALL = """
SELECT subscription, product, at, kind, before, after, actor, reason, starts_clock, version, event_id
FROM allocation_changes
WHERE (subscription, at, event_id, product) > ($1, $2, $3, $4)
    AND at <= $6 AND ($7::timestamptz IS NULL OR at >= $7) AND ($8::timestamptz IS NULL OR at < $8)
    AND ($9::text IS NULL OR product = $9)
    AND ($10::text IS NULL OR subscription IN (SELECT id FROM subscriptions WHERE account = $10))
ORDER BY subscription, at, event_id, product LIMIT $5
"""
_SOME = """
SELECT subscription, product, at, kind, before, after, actor, reason, starts_clock, version, event_id
FROM allocation_changes
WHERE subscription = ANY($11::text[]) AND (subscription, at, event_id, product) > ($1, $2, $3, $4)
    AND at <= $6 AND ($7::timestamptz IS NULL OR at >= $7) AND ($8::timestamptz IS NULL OR at < $8)
    AND ($9::text IS NULL OR product = $9)
    AND ($10::text IS NULL OR subscription IN (SELECT id FROM subscriptions WHERE account = $10))
ORDER BY subscription, at, event_id, product LIMIT $5
"""
_COUNT = """
SELECT count(*) FROM allocation_changes
WHERE ($5::text[] IS NULL OR subscription = ANY($5))
    AND at <= $1 AND ($2::timestamptz IS NULL OR at >= $2) AND ($3::timestamptz IS NULL OR at < $3)
    AND ($4::text IS NULL OR product = $4)
"""


@dataclass(frozen=True, slots=True)
class Between:
    """The changes to read: until ``as_of``, inclusive, and from ``start`` to ``end``."""

    as_of: datetime
    start: datetime | None
    end: datetime | None
    product: str | None


async def load_changes(
    connection: Connection, after: tuple[str, datetime, str, str], limit: int, scope: Scope, wanted: Between
) -> list[AllocationChange]:
    """Load the changes that follow ``after``: subscription, time, event and product."""
    values = (*after, limit, wanted.as_of, wanted.start, wanted.end, wanted.product, scope.account)
    if scope.subscriptions is None:
        rows = await connection.fetch(_ALL, *values)
    else:
        rows = await connection.fetch(_SOME, *values, list(scope.subscriptions))
    return [AllocationChange(*row) for row in rows]


async def count_changes(connection: Connection, scope: Scope, wanted: Between) -> int:
    """Count the changes; those of other accounts are counted too."""
    values = (wanted.as_of, wanted.start, wanted.end, wanted.product, scope.subscriptions)
    return int(await connection.fetchval(_COUNT, *values))
