"""The projection of metering.consumption.

It holds the newest snapshots of the last few windows of each product.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from services.allocation.domain.floor import Measured
from services.allocation.domain.lifecycle import GRACE
from services.allocation.domain.overage import TOLERATED_PERCENT
from shared.events.ids import SubscriptionId
from shared.events.metering import ConsumptionSnapshot
from shared.runtime.postgres.pool import Connection

_UPSERT = """
INSERT INTO consumption AS c (subscription, product, window_start, window_end, revision, level, burned_down)
SELECT subscription, product, window_start, window_end, revision, level, burned_down
FROM unnest(
    $1::text[], $2::text[], $3::timestamptz[], $4::timestamptz[], $5::bigint[], $6::bigint[], $7::bigint[]
) AS new (subscription, product, window_start, window_end, revision, level, burned_down)
ORDER BY subscription, product, window_start
ON CONFLICT (subscription, product, window_start) DO UPDATE
SET window_end = EXCLUDED.window_end, revision = EXCLUDED.revision, level = EXCLUDED.level,
    burned_down = EXCLUDED.burned_down
WHERE c.revision < EXCLUDED.revision
"""
_DELETE_PASSED = """
WITH touched AS (
    SELECT DISTINCT subscription, product FROM unnest($1::text[], $2::text[]) AS new (subscription, product)
), kept AS (
    SELECT t.subscription, t.product, n.window_start - 2 * (n.window_end - n.window_start) AS since
    FROM touched AS t
    CROSS JOIN LATERAL (
        SELECT c.window_start, c.window_end FROM consumption AS c
        WHERE c.subscription = t.subscription AND c.product = t.product
        ORDER BY c.window_start DESC LIMIT 1
    ) AS n
)
DELETE FROM consumption AS c USING (
    SELECT old.subscription, old.product, old.window_start
    FROM kept JOIN consumption AS old ON old.subscription = kept.subscription AND old.product = kept.product
    WHERE old.window_start < kept.since
    FOR UPDATE OF old SKIP LOCKED
) AS passed
WHERE (c.subscription, c.product, c.window_start) = (passed.subscription, passed.product, passed.window_start)
"""
"""Rows that another transaction has locked are left for the next batch.

Two replicas would otherwise wait for each other.
"""
# Finds subscriptions whose newest consumption gives another state than the saved one, by the figures of domain/floor.py
# and domain/overage.py, which decide. Near the boundary of two terms one may be marked that does not change.
_MARK_AFFECTED = """
WITH touched AS (
    SELECT DISTINCT id FROM unnest($1::text[]) AS new (id)
), products AS (
    SELECT
        s.id, s.exhausted, $2 < term.ends_at AS lasts, a.units, a.over_since,
        coalesce(c.level, 0) + coalesce(c.burned_down, 0) AS consumed,
        greatest(coalesce(c.level, 0), coalesce(c.last_level, 0)) + coalesce(c.burned_down, 0) AS floor
    FROM touched
    JOIN subscriptions AS s ON s.id = touched.id AND s.model = 'flex' AND s.cancelled_at IS NULL
    JOIN LATERAL (
        SELECT t.starts_at, t.ends_at FROM terms AS t
        WHERE t.subscription = s.id AND t.starts_at <= $2
        ORDER BY t.starts_at DESC LIMIT 1
    ) AS term ON $2 < term.ends_at + $3
    JOIN allocations AS a ON a.subscription = s.id AND a.ended_at IS NULL
    CROSS JOIN LATERAL (
        SELECT
            max(m.level) FILTER (WHERE m.window_end > $2) AS level,
            max(m.level) FILTER (
                WHERE m.window_end <= $2 AND m.window_end > $2 - s.window_days * interval '1 day'
            ) AS last_level,
            CASE WHEN max(m.window_start) >= term.starts_at
                THEN (array_agg(m.burned_down ORDER BY m.window_start DESC))[1] END AS burned_down
        FROM consumption AS m
        WHERE m.subscription = s.id AND m.product = a.product AND m.window_start <= $2
    ) AS c
), judged AS (
    SELECT
        p.id, p.exhausted, p.lasts, sum(p.consumed) AS consumed,
        bool_or((p.floor * 100 > p.units * $4) <> (p.over_since IS NOT NULL)) AS is_over_changed
    FROM products AS p
    GROUP BY p.id, p.exhausted, p.lasts
), affected AS (
    SELECT j.id
    FROM judged AS j
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(l.units), 0) AS purchased FROM lots AS l
        WHERE l.subscription = j.id AND l.voided_at IS NULL AND l.starts_at <= $2 AND $2 < l.ends_at
    ) AS pool
    WHERE j.is_over_changed
        OR (j.lasts AND j.exhausted <> (j.consumed >= pool.purchased AND pool.purchased > 0))
), held AS (
    SELECT d.subscription
    FROM due_work AS d
    JOIN affected ON affected.id = d.subscription
    ORDER BY d.subscription
    FOR NO KEY UPDATE OF d
)
UPDATE due_work AS d SET due_at = least(d.due_at, $2), marks = d.marks + 1
FROM held WHERE d.subscription = held.subscription
"""
_DELETE_EXPIRED = """
DELETE FROM consumption WHERE (subscription, product, window_start) IN (
    SELECT subscription, product, window_start FROM consumption WHERE window_end < $1 ORDER BY window_end LIMIT $2
)
"""


async def upsert_consumption(connection: Connection, snapshots: Sequence[ConsumptionSnapshot]) -> None:
    """Save newer snapshots, and delete those of windows that no longer count.

    ``snapshots`` has at most one per product and window. The newest window and the two before it are retained: the
    newest may be the next one, if usage came a little early.
    """
    subscriptions = [one.subscription for one in snapshots]
    products = [one.product for one in snapshots]
    await connection.execute(
        _UPSERT,
        subscriptions,
        products,
        [one.window_start for one in snapshots],
        [one.window_end for one in snapshots],
        [one.revision for one in snapshots],
        [one.level for one in snapshots],
        [one.burned_down for one in snapshots],
    )
    await connection.execute(_DELETE_PASSED, subscriptions, products)


async def mark_affected(connection: Connection, subscriptions: Collection[SubscriptionId], now: datetime) -> None:
    """Mark the subscriptions as due whose state their consumption changes."""
    await connection.execute(_MARK_AFFECTED, list(subscriptions), now, GRACE, TOLERATED_PERCENT)


def measured_of(row: tuple[Any, ...]) -> Measured:
    """Decode consumption, as ``subscription_sql`` selects it."""
    return Measured(*row)


async def delete_expired(connection: Connection, before: datetime, limit: int) -> int:
    """Delete at most ``limit`` snapshots of windows that ended before ``before``.

    Returns the number deleted.
    """
    deleted: str = await connection.execute(_DELETE_EXPIRED, before, limit)
    return int(deleted.rsplit(" ", 1)[-1])
