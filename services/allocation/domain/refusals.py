"""The refusals of allocation.

Each has its code, a sentence for a person, and the numbers.
"""

from collections.abc import Sequence
from datetime import datetime

from shared.events.envelope import rfc3339
from shared.events.ids import AccountId, ProductId
from shared.events.refusals import Refusal
from shared.events.state import Lifecycle


def forbidden(sentence: str) -> Refusal:
    """The actor may see the object, but not do this."""
    return Refusal(code="forbidden", message=sentence)


def not_a_flex_subscription() -> Refusal:
    """It is licensed per product."""
    return Refusal(
        code="not_a_flex_subscription",
        message="This subscription is licensed per product: it has no pool of units.",
    )


def feature_not_enabled(account: AccountId) -> Refusal:
    """The account has no flex feature."""
    return Refusal(
        code="feature_not_enabled",
        message="Flexible units are not enabled for this account. The vendor enables them on request.",
        details={"account": account},
    )


def subscription_not_active(state: Lifecycle) -> Refusal:
    """The action is not possible in this state of the subscription."""
    return Refusal(
        code="subscription_not_active",
        message=f"The subscription is {state.replace('_', '-')}: this is not possible now.",
        details={"state": state},
    )


def product_not_subscribed(product: ProductId) -> Refusal:
    """The subscription does not use this product."""
    return Refusal(
        code="product_not_subscribed",
        message=f"The subscription does not include the product {product!r}.",
        details={"product": product},
    )


def product_retired(product: ProductId) -> Refusal:
    """The vendor no longer offers it."""
    return Refusal(code="product_retired", message=f"The product {product!r} is retired.", details={"product": product})


def stale_version(expected: int, current: int) -> Refusal:
    """The requester expects another version."""
    return Refusal(
        code="stale_version",
        message=f"The subscription has changed since: it is at version {current}, not {expected}.",
        details={"expected_version": expected, "version": current},
    )


def over_allocated(excess: int) -> Refusal:
    """More is allocated than is purchased: nothing may be raised."""
    return Refusal(
        code="over_allocated",
        message=f"{excess:,} units more are allocated than are purchased: until that is cured, allocations can only be "
        "lowered.",
        details={"excess": excess},
    )


def insufficient_units(*, purchased: int, allocated: int, requested: int, additional: int) -> Refusal:
    """The pool has not enough units.

    ``requested`` is the sum of units of the named products, and ``additional`` the net increase that the plan asks for.
    """
    available = max(0, purchased - allocated)
    return Refusal(
        code="insufficient_units",
        message=f"This takes {additional:,} more units, but only {available:,} of the {purchased:,} purchased are "
        "unallocated.",
        details={
            "purchased": purchased,
            "allocated": allocated,
            "requested": requested,
            "available": available,
            "additional": additional,
        },
    )


def below_consumption(product: ProductId, requested: int, consumed: int, *, can_accept: bool) -> Refusal:
    """The product consumes more units than are requested for it.

    ``consumed`` is the floor: the larger of the current and the last closed window, with the term to date.
    """
    way = " It can be done by accepting the overage." if can_accept else ""
    return Refusal(
        code="below_consumption",
        message=f"{product} consumes {consumed:,} units, so it cannot be set to {requested:,}.{way}",
        details={"product": product, "requested": requested, "consumed": consumed},
    )


def rebalance_too_soon(next_allowed_at: datetime, products: Sequence[ProductId]) -> Refusal:
    """The last rebalance is too recent. ``products`` are those that would be lowered."""
    return Refusal(
        code="rebalance_too_soon",
        message=f"Allocations can be lowered again from {next_allowed_at:%d %B %Y, %H:%M} UTC. Until then, unallocated "
        "units can be allocated.",
        details={"next_allowed_at": rfc3339(next_allowed_at), "products": list(products)},
    )


def unavailable(seconds: float) -> Refusal:
    """The consumption that the requester was shown has not arrived in time."""
    return Refusal(
        code="unavailable",
        message="The newest consumption has not arrived yet. Please try again in a moment.",
        details={"retry_after_seconds": max(1, round(seconds))},
    )


def busy() -> Refusal:
    """Another transaction has locked the subscription for too long."""
    return Refusal(
        code="unavailable",
        message="The subscription is being changed by someone else. Please try again in a moment.",
        details={"retry_after_seconds": 1},
    )
