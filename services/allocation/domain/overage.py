"""Effects of consumption on a pool and its products.

A pool becomes exhausted and a product restricted; both states may end.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from services.allocation.domain.floor import NOTHING, Consumption
from services.allocation.domain.products import replaced
from services.allocation.domain.subscriptions import Subscription
from shared.consumption import USABLE_STATES
from shared.events.state import SubscribedProduct

TOLERATED_PERCENT: Final = 110
"""Percentage of its allocation above which a product's floor counts as over."""
TOLERATED_FOR: Final = timedelta(days=45)
"""How long a product may be over without a break before it is restricted.

A restricted product gets no new resources, but nothing is lost.
"""


def observe(subscription: Subscription, now: datetime) -> Subscription:
    """Set ``exhausted``, ``over_since`` and ``restricted`` as of ``now``.

    They follow from the consumption, and the version stays the same. After the grace period consumption changes nothing
    more.
    """
    lifecycle = subscription.lifecycle_at(now)
    if subscription.state.model != "flex" or lifecycle not in USABLE_STATES:
        return subscription
    consumptions = subscription.consumptions_at(now)
    products = subscription.state.active_products
    consumed = sum(consumptions.get(one.product, NOTHING).consumed for one in products)
    purchased = subscription.state.purchased(now)
    judged = {one.product: judge(one, consumptions.get(one.product, NOTHING), now) for one in products}
    state = subscription.state.model_copy(update={"products": replaced(subscription, judged)})
    exhausted = lifecycle != "grace" and consumed >= purchased > 0
    return replace(subscription, state=state, exhausted=exhausted).at(now)


def judge(product: SubscribedProduct, consumption: Consumption, now: datetime) -> SubscribedProduct:
    """Set ``over_since`` and ``restricted`` of a product.

    Returns the same value if that changes nothing. The floor of ``consumption`` is compared with the allocation, so
    that a new window does not end a restriction.
    """
    if consumption.floor * 100 <= product.allocated * TOLERATED_PERCENT:
        over_since, restricted = None, False
    else:
        over_since = product.over_since or now
        restricted = now >= over_since + TOLERATED_FOR
    if (over_since, restricted) == (product.over_since, product.restricted):
        return product
    return product.model_copy(update={"over_since": over_since, "restricted": restricted})


def restricted_from(subscription: Subscription, now: datetime) -> list[datetime]:
    """Return when each product that is over will be restricted.

    A product that ceases to be over before then is not restricted.
    """
    since = [one.over_since for one in subscription.state.active_products if one.over_since and not one.restricted]
    return [at + TOLERATED_FOR for at in since if at + TOLERATED_FOR > now]
