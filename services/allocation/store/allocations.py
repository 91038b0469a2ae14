"""What each product of a subscription was given, and its overage policy."""

from services.allocation.domain.subscriptions import Subscription
from shared.events.ids import ProductId, SubscriptionId
from shared.events.state import OveragePolicy, SubscribedProduct
from shared.runtime.postgres import Connection

_INSERT = """
INSERT INTO allocations (subscription, product, place, units, policy, restricted, subscribed_at)
VALUES ($1, $2, (SELECT count(*) FROM allocations WHERE subscription = $1), $3, $4, $5, $6)
"""
_SET_POLICY = "UPDATE allocations SET policy = $3 WHERE subscription = $1 AND product = $2"
_UPDATE = """
UPDATE allocations AS a
SET units = new.units, last_lowered_at = new.last_lowered_at
FROM unnest($2::text[], $3::bigint[], $4::timestamptz[]) AS new (product, units, last_lowered_at)
WHERE a.subscription = $1 AND a.product = new.product
"""


async def insert_allocation(connection: Connection, subscription: SubscriptionId, product: SubscribedProduct) -> None:
    """Keep that a subscription, which this transaction has locked, uses a product."""
    await connection.execute(
        _INSERT,
        subscription,
        product.product,
        product.allocated,
        product.policy,
        product.restricted,
        product.subscribed_at,
    )


async def update_policy(
    connection: Connection, subscription: SubscriptionId, product: ProductId, policy: OveragePolicy
) -> None:
    """Write a product's overage policy."""
    await connection.execute(_SET_POLICY, subscription, product, policy)


async def update_units(connection: Connection, subscription: Subscription, products: frozenset[ProductId]) -> None:
    """Write the units of these products, and when each was last lowered."""
    changed = [one for one in subscription.state.products if one.product in products]
    await connection.execute(
        _UPDATE,
        subscription.state.id,
        [one.product for one in changed],
        [one.allocated for one in changed],
        [one.last_lowered_at for one in changed],
    )
