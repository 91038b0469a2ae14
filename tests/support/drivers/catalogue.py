"""The catalogue of the crash test, and its customers, created over the API."""

from datetime import UTC, datetime, timedelta

from deploy.local.people import DemoPerson
from tests.support.drivers.product import Customer, Product, sell
from tests.support.references.crash_workload import METERS

ALLOCATED = {"exposure-scan": 2_500, "asset-inventory": 800, "surface-watch": 900, "api-guard": 400}


async def make_catalogue(product: Product) -> None:
    """Create the products and meters of the workload."""
    for spec in METERS:
        await product.done(
            "vendor", "POST", "/v1/catalogue/products", {"id": spec.product, "name": spec.product.title()}
        )
        await product.done(
            "vendor",
            "POST",
            f"/v1/catalogue/products/{spec.product}/meters",
            {
                "id": spec.meter,
                "name": spec.meter.title(),
                "aggregation": spec.aggregation,
                "reset": spec.reset,
                "units": spec.units,
                "block": spec.block,
            },
        )


async def make_customer(
    product: Product, account: str, contact: DemoPerson, *, units: int = 5_000, days_ago: int = 40
) -> Customer:
    """Create a customer with units allocated to each product.

    The year's term began some weeks ago.
    """
    start = datetime.now(UTC).replace(microsecond=0) - timedelta(days=days_ago)
    customer = await sell(product, account, contact, start=start, end=start + timedelta(days=365), units=units)
    path = f"/v1/subscriptions/{customer.subscription}"
    for name, given in ALLOCATED.items():
        await product.done(contact, "POST", f"{path}/products", {"product": name})
        await product.done(contact, "POST", f"{path}/allocations", {"product": name, "units": given})
    return customer
