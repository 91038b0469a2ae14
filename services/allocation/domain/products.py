"""The products that a subscription uses: from subscribing to the end of the use."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, Final

from services.allocation.domain import refusals
from services.allocation.domain.subscriptions import Subscription
from shared.events.ids import ProductId
from shared.events.refusals import Refusal
from shared.events.state import OveragePolicy, ProductState, Span, SubscribedProduct

MAX_PRODUCTS: Final = 1000


def subscribe(
    subscription: Subscription, id: ProductId, product: ProductState | None, now: datetime
) -> Subscription | Refusal:
    """Add a product to the subscription, with nothing allocated.

    ``product`` is the catalogue's entry of that id. A product whose use ended may be added again; its last lowering and
    its earlier spans of use are retained.
    """
    if refusal := subscription.refusal_for("subscribe-product", now) or _subscribe_refusal(subscription, id, product):
        return refusal
    added = SubscribedProduct(product=id, allocated=0, subscribed_at=now)
    had = next((one for one in subscription.state.products if one.product == id), None)
    if had is None:
        return subscription.changed(now, products=(*subscription.state.products, added))
    used = () if had.ended_at is None else (Span(start=had.subscribed_at, end=had.ended_at),)
    again = added.model_copy(update={"last_lowered_at": had.last_lowered_at, "earlier": (*had.earlier, *used)})
    return subscription.changed(now, products=replaced(subscription, {id: again}))


def _subscribe_refusal(subscription: Subscription, id: ProductId, product: ProductState | None) -> Refusal | None:
    if product is None:
        return Refusal.not_found("product")
    if subscription.product(id):
        return Refusal.already_exists("product", id)
    if product.retired_at is not None:
        return refusals.product_retired(id)
    if len(subscription.state.products) >= MAX_PRODUCTS:
        return Refusal.invalid(("product", f"a subscription has at most {MAX_PRODUCTS} products"))
    return None


def unsubscribe(subscription: Subscription, product: ProductId, now: datetime) -> Subscription | Refusal:
    """End the use of a product; its units return to the pool.

    That is no rebalance, and starts no clock.
    """
    if refusal := subscription.refusal_for("unsubscribe-product", now):
        return refusal
    if subscription.product(product) is None:
        return refusals.product_not_subscribed(product)
    return subscription.changed(now, products=ended(subscription, {product}, now))


def set_policy(
    subscription: Subscription, product: ProductId, overage: OveragePolicy, now: datetime
) -> Subscription | Refusal:
    """Set the overage policy of ``product``.

    Returns the same value if that changes nothing.
    """
    if refusal := subscription.refusal_for("set-policy", now):
        return refusal
    subscribed = subscription.product(product)
    if subscribed is None:
        return refusals.product_not_subscribed(product)
    if subscribed.policy == overage:
        return subscription
    changed = subscribed.model_copy(update={"policy": overage})
    return subscription.changed(now, products=replaced(subscription, {product: changed}))


def ended(subscription: Subscription, products: Collection[ProductId], now: datetime) -> tuple[SubscribedProduct, ...]:
    """Return all products, with the use of these ended and their units unallocated."""
    end: dict[str, Any] = {"ended_at": now, "allocated": 0, "over_since": None, "restricted": False}
    over = {one.product: one.model_copy(update=end) for one in subscription.state.products if one.product in products}
    return replaced(subscription, over)


def replaced(
    subscription: Subscription, products: Mapping[ProductId, SubscribedProduct]
) -> tuple[SubscribedProduct, ...]:
    """Return all products in their order, with these replaced."""
    return tuple(products.get(one.product, one) for one in subscription.state.products)
