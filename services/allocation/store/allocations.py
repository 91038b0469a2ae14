"""Products of subscriptions: their allocation, overage policy, and span of use."""

from collections.abc import Sequence
from typing import Any

from pydantic import TypeAdapter

from shared.events.ids import SubscriptionId
from shared.events.state import Span, SubscribedProduct
from shared.runtime.postgres.pool import Connection

_SET_EARLIER = "UPDATE allocations SET earlier = $3 WHERE subscription = $1 AND product = $2"
_SPANS: TypeAdapter[tuple[Span, ...]] = TypeAdapter(tuple[Span, ...])


def columns(placed: Sequence[tuple[SubscriptionId, int, SubscribedProduct]]) -> tuple[list[Any], ...]:
    """Return products as the first arrays of ``SAVE``.

    Each product is given with its subscription and its place.
    """
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
    """Decode an allocation, as ``subscription_sql`` selects it."""
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
    """Save the earlier spans of use of a product that was added again.

    The product's row exists and is locked.
    """
    spans = _SPANS.dump_json(product.earlier).decode()
    await connection.execute(_SET_EARLIER, subscription, product.product, spans)
