"""The command that changes allocations: a plan."""

from pydantic import Field

from shared.events.envelope import Frozen, Instant, Payload
from shared.events.ids import ProductRef, SubscriptionRef, WrittenText
from shared.units import Units


class PlannedChange(Frozen):
    """The wanted allocation of one product, in units."""

    product: ProductRef
    units: Units


class SeenConsumption(Frozen):
    """The newest consumption that the requester was shown.

    The plan is decided on this or newer consumption.
    """

    product: ProductRef
    window_start: Instant
    revision: int = Field(ge=1)


class ApplyPlan(Payload):
    """Change allocations in one step, or preview the effect.

    With ``preview`` the effect is returned and nothing changes.
    ``expected_version`` is the subscription's version that the requester saw (``If-Match``).
    """

    event_type = "unitpool.allocation.apply-plan.v1"
    subscription: SubscriptionRef
    changes: tuple[PlannedChange, ...] = Field(min_length=1, max_length=1000)
    preview: bool = False
    accept_overage: bool = False
    override_reason: WrittenText | None = None
    expected_version: int | None = None
    seen: tuple[SeenConsumption, ...] = ()
