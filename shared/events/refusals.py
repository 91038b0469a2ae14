"""The reasons why a request or a command is refused.

They are stable codes with their HTTP status, in one table.

A refusal is an outcome, not an error: it has a code, a sentence for a person, and the numbers.
"""

from types import MappingProxyType
from typing import Any, Literal, Self

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
    """A refusal: its code, a sentence for a person, and the numbers.

    ``message`` is the sentence, ``details`` are the code's numbers.
    ``details["errors"]``, if present, is a list of ``{"field", "message"}``; ``details["product"]`` names the product.
    """

    code: RefusalCode
    message: str
    details: dict[str, Any] = Field(default_factory=dict)

    @classmethod
    def not_found(cls, what: str) -> Self:
        """``not_found``: it does not exist, or the requester may not know that it does."""
        return cls(code="not_found", message=f"There is no such {what}.")

    @classmethod
    def already_exists(cls, what: str, id: str) -> Self:
        """``already_exists``: the id is taken."""
        return cls(code="already_exists", message=f"There is a {what} {id!r} already.", details={"id": id})

    @classmethod
    def invalid(cls, *errors: tuple[str, str], message: str | None = None) -> Self:
        """Return ``invalid_request`` with its faulty fields.

        ``errors`` are (field, fault); without ``message`` the sentence lists them.
        """
        return cls(
            code="invalid_request",
            message=message or " ".join(f"{field}: {fault}." for field, fault in errors),
            details={"errors": [{"field": field, "message": fault} for field, fault in errors]},
        )
