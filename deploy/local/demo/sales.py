"""Writes through the API: catalogue, accounts, subscriptions, lots, allocations."""

import asyncio
from datetime import datetime
from typing import Any

from deploy.local.demo.accounts import DemoAccount
from deploy.local.demo.api import Api, RefusedError
from deploy.local.demo.catalogue import CATALOGUE, PRICE_LIST, DemoProduct
from deploy.local.people import PEOPLE

VENDOR = next(one for one in PEOPLE if "vendor" in one.roles)
_ALREADY_EXISTS = "already_exists"


async def enter_catalogue(api: Api, since: datetime) -> None:
    """Create all products, meters and first rates, and the price list.

    The rates are in force from ``since``.
    """
    await api.write("PUT", VENDOR, "/v1/price-list", PRICE_LIST)
    async with asyncio.TaskGroup() as group:
        for product in CATALOGUE:
            group.create_task(_enter(api, product, since))


async def _enter(api: Api, product: DemoProduct, since: datetime) -> None:
    await _once(api, "/v1/catalogue/products", {"id": product.id, "name": product.name})
    for meter in product.meters:
        body = {
            "id": meter.id,
            "name": meter.name,
            "aggregation": meter.aggregation,
            "reset": meter.reset,
            "units": meter.units,
            "block": meter.block,
            "effective_from": since.isoformat(),
        }
        await _once(api, f"/v1/catalogue/products/{product.id}/meters", body)


async def sell(api: Api, account: DemoAccount) -> str:
    """Create an account with subscription, lots and products.

    Returns the id of the subscription. Repeating it changes nothing.
    """
    await _once(api, "/v1/accounts", {"id": account.id, "name": account.name})
    flex = {"enabled": True, "reason": "Ordered with the first units"}
    await api.write("PUT", VENDOR, f"/v1/accounts/{account.id}/flex", flex)
    body = {
        "account": account.id,
        "name": account.subscription_name,
        "model": "flex",
        "start": account.start.isoformat(),
        "end": account.end.isoformat(),
        "primary_contact": {"email": account.contact.email, "name": account.contact.name},
    }
    subscription = str((await api.write("POST", VENDOR, "/v1/subscriptions", body))["id"])
    await _purchase(api, account, subscription)
    for share in account.shares:
        await _once(api, f"/v1/subscriptions/{subscription}/products", {"product": share.product})
    return subscription


async def _purchase(api: Api, account: DemoAccount, subscription: str) -> None:
    for number, units in enumerate(account.lots, 1):
        order = {
            "units": units,
            "order_reference": f"PO-{account.id}-{number}",
            "start": account.start.isoformat(),
        }
        await api.write("POST", VENDOR, f"/v1/subscriptions/{subscription}/purchases", order)


async def allocate(api: Api, account: DemoAccount, subscription: str) -> None:
    """Allocate each product's units in one plan, as the primary contact."""
    changes = [{"product": share.product, "units": share.allocated} for share in account.shares]
    await api.write("POST", account.contact, f"/v1/subscriptions/{subscription}/rebalances", {"changes": changes})


async def _once(api: Api, path: str, body: dict[str, Any]) -> None:
    """Send a write as the vendor; do nothing if the resource exists."""
    try:
        await api.write("POST", VENDOR, path, body)
    except RefusedError as refusal:
        if refusal.code != _ALREADY_EXISTS:
            raise
