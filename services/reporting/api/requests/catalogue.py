"""Requests about the catalogue and prices."""

from typing import Annotated

from pydantic import Field

from services.reporting.api.fields import At, Request, Source, example
from shared.events.ids import MeterRef, Name, PermissionRef, PlainName, ProductRef, RoleRef
from shared.events.state import Aggregation, Reset
from shared.units import PositiveUnits


class NewProduct(Request):
    """A product. ``sources`` empty: those that begin with ``/platforms/<id>``."""

    model_config = example(id="exposure-scan", name="Exposure Scan")
    id: ProductRef
    name: Name
    sources: list[Source] = Field(default_factory=list, max_length=100)


class NewMeter(Request):
    """A meter with its first rate: ``units`` pool units per ``block`` metered things."""

    model_config = example(id="host", name="Hosts", aggregation="unique", units=1, block=1)
    id: MeterRef
    name: Name
    aggregation: Aggregation
    reset: Reset = "window"
    units: PositiveUnits
    block: PositiveUnits
    effective_from: At | None = None


class NewRate(Request):
    model_config = example(meter="host", units=2, block=1, effective_from="2027-01-01T00:00:00Z")
    meter: MeterRef
    units: PositiveUnits
    block: PositiveUnits
    effective_from: At | None = None


class PermissionAsked(Request):
    """A permission in the product's application."""

    id: PermissionRef
    category: PlainName
    description: PlainName


class RoleTemplateAsked(Request):
    """A default role; ``summary`` is one line."""

    role: RoleRef
    name: PlainName
    summary: PlainName
    permissions: list[PermissionRef] = Field(max_length=200)


class RolesSetting(Request):
    """All permissions and default roles.

    Roles that accounts have customised do not change.
    """

    model_config = example(
        permissions=[{"id": "page.use", "category": "Access", "description": "Use the application's page"}],
        roles=[
            {
                "role": "exposure-scan-reader",
                "name": "Exposure Scan Reader",
                "summary": "Sees everything, changes nothing",
                "permissions": ["page.use"],
            }
        ],
    )
    permissions: list[PermissionAsked] = Field(min_length=1, max_length=200)
    roles: list[RoleTemplateAsked] = Field(min_length=1, max_length=50)


class TierAsked(Request):
    """A discount in hundredths of a percent, from a number of units in the term on."""

    from_units: Annotated[int, Field(strict=True, ge=0, le=10**12)]
    discount_basis_points: Annotated[int, Field(strict=True, ge=0, le=10_000)]


class PriceListSetting(Request):
    """The price list from now on.

    Money is in integer minor units of the currency, per unit and year.
    """

    model_config = example(
        currency="EUR",
        list_price_minor=1000,
        tiers=[
            {"from_units": 0, "discount_basis_points": 0},
            {"from_units": 10_000, "discount_basis_points": 800},
        ],
    )
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
    list_price_minor: Annotated[int, Field(strict=True, ge=0, le=10**12)]
    tiers: list[TierAsked] = Field(min_length=1, max_length=100)


class NewQuote(Request):
    """Units to quote.

    They are for the rest of the term of ``subscription`` if it is given, otherwise for one year.
    """

    model_config = example(units=50_000)
    units: PositiveUnits
    subscription: Annotated[str | None, Field(max_length=64)] = None
