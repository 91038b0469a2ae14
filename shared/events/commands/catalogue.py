"""Commands on what the vendor offers.

These are products, meters, rates, default roles and prices.
"""

from typing import Annotated

from pydantic import Field

from shared.events.envelope import Instant, Payload
from shared.events.ids import MeterRef, Name, ProductRef
from shared.events.state import Aggregation, Permission, Reset, RoleTemplate, Tier
from shared.units import PositiveUnits

SourcePrefix = Annotated[str, Field(min_length=1, max_length=200)]


class CreateProduct(Payload):
    """Create a product.

    Without ``sources``, its source is ``/platforms/<product id>`` with all paths below it.
    """

    event_type = "unitpool.allocation.create-product.v1"
    product: ProductRef
    name: Name
    sources: tuple[SourcePrefix, ...] = ()


class CreateMeter(Payload):
    """Add a meter with its first rate."""

    event_type = "unitpool.allocation.create-meter.v1"
    product: ProductRef
    meter: MeterRef
    name: Name
    aggregation: Aggregation
    reset: Reset = "window"
    units: PositiveUnits
    block: PositiveUnits
    effective_from: Instant | None = None


class SetRate(Payload):
    event_type = "unitpool.allocation.set-rate.v1"
    product: ProductRef
    meter: MeterRef
    units: PositiveUnits
    block: PositiveUnits
    effective_from: Instant | None = None


class RetireProduct(Payload):
    """Retire a product, which is then no longer offered or metered.

    Its units return to every pool.
    """

    event_type = "unitpool.allocation.retire-product.v1"
    product: ProductRef


class SetRoleTemplates(Payload):
    """Replace the permissions of a product's application and its default roles.

    Customised roles are unchanged.
    """

    event_type = "unitpool.allocation.set-role-templates.v1"
    product: ProductRef
    permissions: tuple[Permission, ...] = Field(min_length=1, max_length=200)
    roles: tuple[RoleTemplate, ...] = Field(min_length=1, max_length=50)


class SetPriceList(Payload):
    """Replace the price list from now on. The prices of earlier lots are unchanged."""

    event_type = "unitpool.allocation.set-price-list.v1"
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
    list_price_minor: int = Field(strict=True, ge=0, le=10**12)
    tiers: tuple[Tier, ...] = Field(min_length=1, max_length=100)
