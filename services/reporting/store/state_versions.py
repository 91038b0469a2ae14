"""Every state of subscriptions and products, with when it was recorded."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime

from services.reporting.domain.recorded import RecordedProduct, RecordedSubscription
from shared.events.state import ProductState, SubscriptionState
from shared.runtime.postgres.pool import Connection, Row
from shared.runtime.postgres.row_decoding import decode_rows

_INSERT_SUBSCRIPTION = """
INSERT INTO subscription_versions (subscription, version, recorded_at, state) VALUES ($1, $2, $3, $4)
ON CONFLICT DO NOTHING
"""
_INSERT_PRODUCT = """
INSERT INTO product_versions (product, version, recorded_at, state) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING
"""
# Also of what an upgrade found there, nothing is known from before `recording_began`.
_LOAD_SUBSCRIPTIONS = """
SELECT wanted.id, chosen.recorded_at, chosen.state
FROM unnest($1::text[]) AS wanted (id) CROSS JOIN LATERAL (
    SELECT recorded_at, state FROM subscription_versions
    WHERE subscription = wanted.id AND recorded_at <= $2 ORDER BY version DESC LIMIT 1
) AS chosen
WHERE NOT EXISTS (SELECT FROM recording_began WHERE at > $2)
ORDER BY wanted.id
"""
_LOAD_PRODUCTS = """
SELECT wanted.id, chosen.recorded_at, chosen.state
FROM unnest($1::text[]) AS wanted (id) CROSS JOIN LATERAL (
    SELECT recorded_at, state FROM product_versions
    WHERE product = wanted.id AND recorded_at <= $2 ORDER BY version DESC LIMIT 1
) AS chosen
ORDER BY wanted.id
"""
_FIRST_RECORDED = """
SELECT greatest(min(recorded_at), (SELECT max(at) FROM recording_began))
FROM subscription_versions WHERE subscription = $1 HAVING count(*) > 0
"""
# A version that was replaced before the oldest instant that can be requested.
_FIND_OLD = """
SELECT DISTINCT subscription FROM subscription_versions AS old
WHERE recorded_at < $1 AND subscription <> ALL($2::text[]) AND EXISTS (
    SELECT FROM subscription_versions AS newer
    WHERE newer.subscription = old.subscription AND newer.version > old.version AND newer.recorded_at <= $1
)
"""
_PRUNE = """
DELETE FROM subscription_versions AS old
WHERE recorded_at < $1 AND subscription = ANY($2::text[]) AND EXISTS (
    SELECT FROM subscription_versions AS newer
    WHERE newer.subscription = old.subscription AND newer.version > old.version AND newer.recorded_at <= $1
)
"""


async def insert_subscription_version(connection: Connection, state: SubscriptionState, at: datetime) -> None:
    """Insert a state that was recorded at ``at``; one that is there stays."""
    await connection.execute(_INSERT_SUBSCRIPTION, state.id, state.version, at, state.model_dump_json())


async def insert_product_version(connection: Connection, state: ProductState, at: datetime) -> None:
    """Insert a state that was recorded at ``at``; one that is there stays."""
    await connection.execute(_INSERT_PRODUCT, state.id, state.version, at, state.model_dump_json())


async def load_subscriptions_at(
    connection: Connection, subscriptions: Collection[str], at: datetime
) -> dict[str, RecordedSubscription]:
    """Load the newest states that were recorded by ``at``, by id.

    Those that were not recorded yet, and unreadable ones, are left out.
    """
    rows = await connection.fetch(_LOAD_SUBSCRIPTIONS, list(subscriptions), at)
    return {one.state.id: one for one in decode_rows(rows, _subscription, "subscription_versions")}


async def load_products_at(connection: Connection, products: Iterable[str], at: datetime) -> dict[str, RecordedProduct]:
    """Load the newest states that were recorded by ``at``, by id.

    Those that were not recorded yet, and unreadable ones, are left out.
    """
    rows = await connection.fetch(_LOAD_PRODUCTS, list(products), at)
    return {one.state.id: one for one in decode_rows(rows, _product, "product_versions")}


async def find_first_recorded(connection: Connection, subscription: str) -> datetime | None:
    """Find from when on a subscription's past is known; ``None``: nothing is recorded."""
    first: datetime | None = await connection.fetchval(_FIRST_RECORDED, subscription)
    return first


async def find_old_versions(connection: Connection, before: datetime, except_for: Sequence[str]) -> list[str]:
    """List subscriptions with versions that were replaced by ``before``."""
    return [row["subscription"] for row in await connection.fetch(_FIND_OLD, before, list(except_for))]


async def prune_versions(connection: Connection, before: datetime, subscriptions: Sequence[str]) -> None:
    """Delete the versions of these subscriptions that were replaced by ``before``."""
    await connection.execute(_PRUNE, before, list(subscriptions))


def _subscription(row: Row) -> RecordedSubscription:
    return RecordedSubscription(SubscriptionState.model_validate_json(row["state"]), row["recorded_at"])


def _product(row: Row) -> RecordedProduct:
    return RecordedProduct(ProductState.model_validate_json(row["state"]), row["recorded_at"])
