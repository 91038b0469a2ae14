"""What each product of a subscription was given, its overage policy, and how it does."""

from collections.abc import Sequence
from typing import Any

from pydantic import TypeAdapter

from shared.events.ids import SubscriptionId
from shared.events.state import Span, SubscribedProduct
from shared.runtime.postgres.pool import Connection

UPSERT = """
INSERT INTO allocations (
    subscription, product, place, units, policy, restricted, subscribed_at, last_lowered_at, over_since, ended_at
)
SELECT * FROM unnest(
    $1::text[], $2::text[], $3::int[], $4::bigint[], $5::text[], $6::boolean[],
    $7::timestamptz[], $8::timestamptz[], $9::timestamptz[], $10::timestamptz[]
)
ON CONFLICT (subscription, product) DO UPDATE
SET units = EXCLUDED.units, policy = EXCLUDED.policy, restricted = EXCLUDED.restricted,
    subscribed_at = EXCLUDED.subscribed_at, last_lowered_at = EXCLUDED.last_lowered_at,
    over_since = EXCLUDED.over_since, ended_at = EXCLUDED.ended_at
"""
"""Of subscriptions that this transaction has locked; its parameters are ``columns``."""
_SET_EARLIER = "UPDATE allocations SET earlier = $3 WHERE subscription = $1 AND product = $2"
_SPANS: TypeAdapter[tuple[Span, ...]] = TypeAdapter(tuple[Span, ...])
ALLOCATIONS = """
SELECT ROW(
    a.product, a.units, a.policy, a.restricted, a.subscribed_at, a.last_lowered_at, a.over_since, a.ended_at, a.earlier,
    p.retired_at IS NOT NULL
)
FROM allocations AS a
JOIN products AS p ON p.id = a.product
WHERE a.subscription = s.id
ORDER BY a.place
"""
"""Those of the subscription ``s``, in their order; at the end of each whether the vendor no longer offers it.

See ``product_of``.
"""


def columns(placed: Sequence[tuple[SubscriptionId, int, SubscribedProduct]]) -> tuple[list[Any], ...]:
    """Products, each with its subscription and place, as the arrays of ``UPSERT``."""
    products = [product for _, _, product in placed]
    return (
        [subscription for subscription, _, _ in placed],
        [one.product for one in products],
        [place for _, place, _ in placed],
        [one.allocated for one in products],
        [one.policy for one in products],
        [one.restricted for one in products],
        [one.subscribed_at for one in products],
        [one.last_lowered_at for one in products],
        [one.over_since for one in products],
        [one.ended_at for one in products],
    )


def product_of(row: tuple[Any, ...]) -> SubscribedProduct:
    """A row of ``ALLOCATIONS``."""
    product, units, policy, restricted, subscribed_at, last_lowered_at, over_since, ended_at, earlier, _ = row
    return SubscribedProduct(
        product=product,
        allocated=units,
        policy=policy,
        restricted=restricted,
        subscribed_at=subscribed_at,
        last_lowered_at=last_lowered_at,
        over_since=over_since,
        ended_at=ended_at,
        earlier=_SPANS.validate_json(earlier),
    )


async def save_earlier(connection: Connection, subscription: SubscriptionId, product: SubscribedProduct) -> None:
    """Keep the spans of use of a product that was taken again. Its row is there, and locked."""
    spans = _SPANS.dump_json(product.earlier).decode()
    await connection.execute(_SET_EARLIER, subscription, product.product, spans)
