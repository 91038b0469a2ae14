"""Why a request or a command is refused: stable codes with their HTTP status, in one table.

A refusal is an outcome, not an error: it has a code, a sentence for a person, and the numbers.
"""

from types import MappingProxyType
from typing import Any, Literal

from pydantic import Field

from shared.events.envelope import Frozen

RefusalCode = Literal[
    "unauthenticated",
    "forbidden",
    "not_found",
    "invalid_request",
    "insufficient_units",
    "below_consumption",
    "rebalance_too_soon",
    "over_allocated",
    "not_a_flex_subscription",
    "feature_not_enabled",
    "subscription_not_active",
    "product_not_subscribed",
    "product_retired",
    "stale_version",
    "idempotency_key_reused",
    "already_exists",
    "too_many_requests",
    "unavailable",
]

HTTP_STATUS: MappingProxyType[RefusalCode, int] = MappingProxyType(
    {
        "unauthenticated": 401,
        "forbidden": 403,
        "not_found": 404,
        "invalid_request": 422,
        "insufficient_units": 409,
        "below_consumption": 409,
        "rebalance_too_soon": 409,
        "over_allocated": 409,
        "not_a_flex_subscription": 409,
        "feature_not_enabled": 409,
        "subscription_not_active": 409,
        "product_not_subscribed": 409,
        "product_retired": 409,
        "stale_version": 409,
        "idempotency_key_reused": 409,
        "already_exists": 409,
        "too_many_requests": 429,
        "unavailable": 503,
    }
)


class Refusal(Frozen):
    """A decision against: ``message`` is a sentence for a person, ``details`` are the code's numbers.

    ``details["errors"]``, where there, is a list of ``{"field", "message"}``; ``details["product"]`` names the product.
    """

    code: RefusalCode
    message: str
    details: dict[str, Any] = Field(default_factory=dict)
