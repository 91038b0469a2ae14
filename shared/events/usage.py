"""Usage events and their corrections, as product platforms publish them.

They are on the topic ``usage.events``.

These models are the contract. Metering's hot path reads the same shape with a bulk decoder and its own reasons.
"""

from decimal import Decimal
from typing import Annotated

from pydantic import Field, StringConstraints

from shared.events.envelope import Payload
from shared.events.ids import MeterRef, ProductRef

Quantity = Annotated[Decimal, Field(ge=0, max_digits=30, decimal_places=12)]
Resource = Annotated[str, StringConstraints(min_length=1, max_length=512)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Reason = Annotated[str, StringConstraints(min_length=1, max_length=500)]


class UsageRecorded(Payload):
    """A product was used. ``resource`` is required for ``unique`` meters."""

    event_type = "unitpool.platform.usage.recorded.v1"
    product: ProductRef
    meter: MeterRef
    quantity: Quantity = Decimal(1)
    resource: Resource | None = None


class UsageReversed(Payload):
    """Reversal of an earlier event of the same subscription and product.

    The event is named by its ``source`` and ``id``.
    That event is at most 35 days old when this is accepted, and may arrive after it. A purge can be reversed too; a
    reversal cannot.
    """

    event_type = "unitpool.platform.usage.reversed.v1"
    product: ProductRef
    source: Name
    id: Name
    reason: Reason


class ResourcePurged(Payload):
    """Purge of a resource of a ``unique`` meter from one window.

    It is the window of this event's time; only later usage counts.
    """

    event_type = "unitpool.platform.resource.purged.v1"
    product: ProductRef
    meter: MeterRef
    resource: Resource


USAGE_EVENTS: tuple[type[Payload], ...] = (UsageRecorded, UsageReversed, ResourcePurged)
