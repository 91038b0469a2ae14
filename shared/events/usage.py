"""Usage events, as product platforms publish them. Topic ``usage.events``.

These models are the contract. Metering's hot path reads the same shape with a bulk decoder and its own reasons.
"""

from decimal import Decimal
from typing import Annotated

from pydantic import Field, StringConstraints

from shared.events.envelope import Payload
from shared.events.ids import MeterRef, ProductRef

Quantity = Annotated[Decimal, Field(ge=0, max_digits=30, decimal_places=12)]
Resource = Annotated[str, StringConstraints(min_length=1, max_length=512)]


class UsageRecorded(Payload):
    """A product was used. ``resource`` is required for ``unique`` meters."""

    event_type = "unitpool.platform.usage.recorded.v1"
    product: ProductRef
    meter: MeterRef
    quantity: Quantity = Decimal(1)
    resource: Resource | None = None


USAGE_EVENTS: tuple[type[Payload], ...] = (UsageRecorded,)
