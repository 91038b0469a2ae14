"""A small account that is loaded with past times equals one entered over the APIs."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from deploy.local.demo.accounts import DemoAccount, Share
from deploy.local.demo.backdated_commands import open_backdated_commands
from deploy.local.demo.backdated_sales import sell_backdated
from deploy.local.demo.catalogue import PRODUCTS
from deploy.local.demo.history import load_history
from deploy.local.demo.usage import usage_of
from tests.support.drivers.processes import COMMAND_KEYS
from tests.support.drivers.product import Product, until

pytestmark = pytest.mark.timeout(300)

NOW = datetime.now(UTC)
TODAY = NOW.replace(hour=0, minute=0, second=0, microsecond=0)
SHARES = (Share("exposure-scan", 40, 90, 60), Share("surface-watch", 60, 70, 50), Share("api-guard", 30, 60, 0))
START = TODAY - timedelta(days=31)
ACCOUNT = DemoAccount("then", "Then", "ordinary", START, START + timedelta(days=365), (150,), SHARES)


async def _enter_catalogue(product: Product) -> None:
    for share in SHARES:
        one = PRODUCTS[share.product]
        await product.done("vendor", "POST", "/v1/catalogue/products", {"id": one.id, "name": one.name})
        for meter in one.meters:
            body = {
                "id": meter.id,
                "name": meter.name,
                "aggregation": meter.aggregation,
                "reset": meter.reset,
                "units": meter.units,
                "block": meter.block,
                "effective_from": START.isoformat(),
            }
            await product.done("vendor", "POST", f"/v1/catalogue/products/{one.id}/meters", body)


async def _enter_account(product: Product) -> str:
    await product.done("vendor", "POST", "/v1/accounts", {"id": "entered", "name": "Entered"})
    await product.done("vendor", "PUT", "/v1/accounts/entered/flex", {"enabled": True, "reason": "ordered"})
    body = {
        "account": "entered",
        "name": ACCOUNT.subscription_name or "Entered",
        "model": "flex",
        "start": ACCOUNT.start.isoformat(),
        "end": ACCOUNT.end.isoformat(),
        "primary_contact": {"email": ACCOUNT.contact.email, "name": ACCOUNT.contact.name},
    }
    subscription = str((await product.done("vendor", "POST", "/v1/subscriptions", body))["id"])
    path = f"/v1/subscriptions/{subscription}"
    await product.done("vendor", "POST", f"{path}/purchases", {"units": 150, "order_reference": "PO"})
    for share in SHARES:
        await product.done("vendor", "POST", f"{path}/products", {"product": share.product})
    changes = [{"product": share.product, "units": share.allocated} for share in SHARES]
    await product.done("primary", "POST", f"{path}/rebalances", {"changes": changes})
    for one in usage_of(ACCOUNT, subscription, ACCOUNT.start, NOW):
        await product.publish(one.key, one.value)
    return subscription


async def _load_account(product: Product) -> str:
    account = replace(ACCOUNT, subscription_name="Then")
    async with open_backdated_commands(product.databases["allocation"], COMMAND_KEYS) as past:
        subscription = await sell_backdated(past, account, TODAY)
        assert await sell_backdated(past, account, TODAY) == subscription  # a repeat changes nothing
    wanted = {subscription: [share.product for share in SHARES]}
    reported = list(usage_of(account, subscription, account.start, NOW))
    assert await load_history(product.databases["metering"], reported, wanted) == len(reported)
    return subscription


def _shown(overview: dict[str, Any]) -> dict[str, Any]:
    """Return the parts of an overview that must be equal: figures and arithmetic."""
    figures = (
        "purchased",
        "allocated",
        "consumed",
        "unallocated",
        "unused",
        "over_allocated",
        "state",
        "model",
        "window",
    )
    products = [
        {name: row[name] for name in ("product", "allocated", "consumed", "utilisation", "policy", "floor")}
        | {"meters": [{**meter, "rate_version": 0} for meter in row["meters"]]}
        for row in sorted(overview["products"], key=lambda row: str(row["product"]))
    ]
    return {name: overview[name] for name in figures} | {
        "products": products,
        "rebalance": overview["rebalance"]["allowed"],
    }


async def test_a_loaded_account_equals_one_that_was_entered_over_the_apis(product: Product) -> None:
    await _enter_catalogue(product)
    entered = await _enter_account(product)
    loaded = await _load_account(product)

    async def same() -> bool:
        one, other = _shown(await product.overview(entered)), _shown(await product.overview(loaded))
        return one == other and bool(one["consumed"] > 60)

    await until(same, "both accounts show the same figures", timeout_seconds=60)
