"""Entitlements: whether a subscription may use more of a product.

An answer has the reason and the numbers.
"""

from dataclasses import dataclass
from typing import Literal

from services.metering.domain.subscription import Subscription
from shared.consumption import USABLE_STATES
from shared.events.state import OveragePolicy

EntitlementReason = Literal[
    "within_allocation",
    "overage_permitted",
    "allocation_exhausted",
    "restricted",
    "not_allocated",
    "subscription_not_active",
]


@dataclass(frozen=True, slots=True)
class Entitlement:
    """A decision. ``unused`` is negative when more was consumed than allocated."""

    allowed: bool
    reason: EntitlementReason
    allocated: int
    consumed: int
    policy: OveragePolicy | None

    @property
    def unused(self) -> int:
        """Units allocated and not consumed."""
        return self.allocated - self.consumed


def decide(subscription: Subscription, product: str, consumed: int, wanted: int) -> Entitlement:
    """Decide whether ``wanted`` units may be used in addition to ``consumed``.

    Refused always: an unusable subscription, a product without allocation, a restricted product. Of the policies only
    ``hard`` refuses use beyond the allocation, and once nothing is unused even a request for 0 units.
    """
    subscribed = next((one for one in subscription.products if one.product == product and one.ended_at is None), None)
    allocated = subscribed.allocated if subscribed else 0
    policy = subscribed.policy if subscribed else None

    def answer(allowed: bool, reason: EntitlementReason) -> Entitlement:
        return Entitlement(allowed, reason, allocated, consumed, policy)

    if subscription.state not in USABLE_STATES:
        return answer(False, "subscription_not_active")
    if subscribed is None or not allocated:
        return answer(False, "not_allocated")
    if subscribed.restricted:
        return answer(False, "restricted")
    if consumed + (max(wanted, 1) if policy == "hard" else wanted) <= allocated:
        return answer(True, "within_allocation")
    if policy == "hard":
        return answer(False, "allocation_exhausted")
    return answer(True, "overage_permitted")
