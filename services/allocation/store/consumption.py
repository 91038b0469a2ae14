"""The projection of metering.consumption: the newest snapshots of the last few windows of each product."""

from collections.abc import Sequence
from datetime import datetime

from services.allocation.domain.floor import Measured
from shared.events.ids import SubscriptionId
from shared.events.metering import ConsumptionSnapshot
from shared.runtime.postgres import Connection

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
DELETE FROM consumption AS c USING kept
WHERE c.subscription = kept.subscription AND c.product = kept.product AND c.window_start < kept.since
"""
_DELETE_EXPIRED = """
DELETE FROM consumption WHERE (subscription, product, window_start) IN (
    SELECT subscription, product, window_start FROM consumption WHERE window_end < $1 ORDER BY window_end LIMIT $2
)
"""
_LOAD = """
SELECT product, window_start, window_end, revision, level, burned_down FROM consumption WHERE subscription = $1
"""


async def upsert_consumption(connection: Connection, snapshots: Sequence[ConsumptionSnapshot]) -> None:
    """Keep snapshots (one per product and window) where they are newer, and forget windows that no longer count.

    Kept are the newest window and the two before it: the newest may be the next one, when usage came a little ahead.
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


async def load_consumption(connection: Connection, subscription: SubscriptionId) -> list[Measured]:
    """What is known of all products of a subscription."""
    return [Measured(**dict(row)) for row in await connection.fetch(_LOAD, subscription)]


async def delete_expired(connection: Connection, before: datetime, limit: int) -> int:
    """Forget at most ``limit`` snapshots of windows that ended before ``before``; how many there were."""
    deleted: str = await connection.execute(_DELETE_EXPIRED, before, limit)
    return int(deleted.rsplit(" ", 1)[-1])
