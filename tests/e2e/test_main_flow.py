"""The main flow: usage becomes consumption, an alert and a webhook, exactly once."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from tests.support.drivers.catalogue import ALLOCATED, make_catalogue, make_customer
from tests.support.drivers.product import PRIMARY, Customer, Product, until
from tests.support.servers.webhook_recorder import Receiver

pytestmark = pytest.mark.timeout(240)


def usage(customer: Customer, number: int, resource: str, product: str = "exposure-scan") -> dict[str, Any]:
    """Build usage of a host with the present time."""
    return {
        "specversion": "1.0",
        "id": f"flow-{number}",
        "source": f"/platforms/{product}",
        "type": "unitpool.platform.usage.recorded.v1",
        "subject": customer.subscription,
        "time": datetime.now(UTC).isoformat(),
        "data": {"product": product, "meter": "host", "resource": resource},
    }


def product_row(overview: dict[str, Any], product: str) -> dict[str, Any]:
    """Return the overview's row of one product."""
    return next(row for row in overview["products"] if row["product"] == product)


async def test_usage_becomes_consumption_an_alert_and_a_webhook_when_it_arrives(product: Product) -> None:
    await make_catalogue(product)
    customer = await make_customer(product, "acme", PRIMARY)
    path = f"/v1/subscriptions/{customer.subscription}"
    overview = await product.overview(customer.subscription)
    assert (overview["purchased"], overview["allocated"]) == (5_000, sum(ALLOCATED.values()))
    assert (overview["consumed"], overview["unallocated"]) == (0, 5_000 - sum(ALLOCATED.values()))

    async with Receiver() as receiver:
        channel = await product.done(
            "primary", "POST", f"{path}/alert-channels", {"kind": "webhook", "url": receiver.url}
        )
        receiver.secret = channel["secret"]

        await _send_over_kafka_and_http(product, customer)

        async def consumed() -> bool:
            row = product_row(await product.overview(customer.subscription), "exposure-scan")
            return bool(row["consumed"] == 2_050)

        await until(consumed, "2,050 distinct hosts are consumed")
        await _assert_resources_listed(product, path)
        await _assert_days_listed(product, path)
        alerts = await until(lambda: _alerts(product, path), "an alert is there")
        assert [(one["scope"], one["product"], one["threshold"]) for one in alerts] == [
            ("product", "exposure-scan", 80)
        ]
        assert alerts[0]["value_at"] == pytest.approx(82, abs=2.1)
        assert alerts[0]["value_now"] == 82.0

        async def delivered() -> bool:
            return bool(receiver.received)

        await until(delivered, "the webhook arrives")
        assert (len(receiver.received), receiver.forged) == (1, 0)

    acknowledged = await product.done("primary", "POST", f"{path}/alerts/{alerts[0]['id']}/acknowledge")
    assert acknowledged["command_id"]
    again = (await product.done("primary", "GET", f"{path}/alerts"))["items"]
    assert [(one["state"], one["acknowledged_by"]) for one in again] == [("acknowledged", PRIMARY.email)]
    await _assert_plan_rules(product, customer)


async def _send_over_kafka_and_http(product: Product, customer: Customer) -> None:
    """Send 1,000 hosts over Kafka, then 1,050 over HTTP, and repeats of both."""
    for number in range(1_000):
        await product.producer.send(
            f"{product.topic_prefix}usage.events",
            json.dumps(usage(customer, number, f"host-{number}")).encode(),
            key=customer.subscription.encode(),
        )
    await product.producer.flush()
    made = await product.done("vendor", "POST", "/v1/ingest-keys", {"product": "exposure-scan"})
    batch = [usage(customer, number, f"host-{number}") for number in range(1_000, 2_050)]
    headers = {"Authorization": f"Bearer {made['key']}", "Content-Type": "application/cloudevents-batch+json"}
    url = f"{product.services['metering'].url}/v1/usage"

    async def known() -> bool:
        answer = await product.http.post(url, content=json.dumps(batch), headers=headers)
        if answer.status_code == 401:
            return False
        assert answer.status_code == 202, answer.text
        assert answer.json() == {"accepted": 1_050, "duplicates": 0, "refused": []}
        return True

    await until(known, "the ingest key works")
    answer = await product.http.post(url, content=json.dumps(batch[:100]), headers=headers)
    assert answer.json()["accepted"] == 100
    wrong = usage(customer, 9_999, "x", product="surface-watch")
    refused = await product.http.post(
        url, content=json.dumps(wrong), headers={**headers, "Content-Type": "application/cloudevents+json"}
    )
    assert (refused.status_code, refused.json()["code"]) == (422, "source_not_allowed")


async def _assert_resources_listed(product: Product, path: str) -> None:
    """Assert that resources are listed in pages to those who see the subscription.

    Reporting asks metering for them.
    """
    wanted, found, cursor = f"{path}/resources?product=exposure-scan&meter=host&limit=1000", list[str](), ""
    for _ in range(3):
        page = await product.done("primary", "GET", f"{wanted}{cursor}")
        found += [item["resource"] for item in page["items"]]
        cursor = f"&cursor={page['next_cursor']}"
    assert (page["counted"], page["next_cursor"]) == (2_050, None)
    assert found == sorted(f"host-{number}" for number in range(2_050))
    long_ago = "&window=2020-01-01T00:00:00Z"
    for who, query, status in (("stranger", "", 404), ("primary", "&cursor=!", 422), ("primary", long_ago, 404)):
        assert (await product.call(who, "GET", f"{wanted}{query}")).status_code == status


async def _assert_days_listed(product: Product, path: str) -> None:
    """Assert that usage by hour follows.

    A host may count in two hours.
    """

    async def listed() -> bool:
        query = f"{path}/usage?interval=hour&product=exposure-scan"
        items = (await product.done("primary", "GET", query))["items"]
        return bool(sum(one["aggregate"] for one in items) >= 2_050)

    await until(listed, "the hours have 2,050 distinct hosts")


async def _alerts(product: Product, path: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = (await product.done("primary", "GET", f"{path}/alerts"))["items"]
    return items


async def _assert_plan_rules(product: Product, customer: Customer) -> None:
    """Assert that the API refuses plans by each rule, with its code and numbers."""
    path = f"/v1/subscriptions/{customer.subscription}"
    below = await product.call(
        "primary", "POST", f"{path}/rebalances", {"changes": [{"product": "exposure-scan", "units": 100}]}
    )
    assert (below.status_code, below.json()["code"]) == (409, "below_consumption")
    assert (below.json()["requested"], below.json()["consumed"]) == (100, 2_050)
    much = await product.call("primary", "POST", f"{path}/allocations", {"product": "api-guard", "units": 4_000})
    assert (much.status_code, much.json()["code"]) == (409, "insufficient_units")

    plan = {"changes": [{"product": "asset-inventory", "units": 700}, {"product": "api-guard", "units": 500}]}
    preview = await product.done("primary", "POST", f"{path}/rebalances", plan | {"preview": True})
    assert (preview["preview"], preview["allowed"], preview["starts_clock"]) == (True, True, True)
    assert (
        product_row(await product.overview(customer.subscription), "api-guard")["allocated"] == ALLOCATED["api-guard"]
    )

    key = str(uuid4())
    first = await product.done("primary", "POST", f"{path}/rebalances", plan, Idempotency_Key=key)
    again = await product.done("primary", "POST", f"{path}/rebalances", plan, Idempotency_Key=key)
    assert first["version"] == again["version"]
    assert product_row(first, "asset-inventory")["allocated"] == 700
    reused = await product.call("primary", "POST", f"{path}/rebalances", {"changes": []}, Idempotency_Key=key)
    assert reused.status_code in (409, 422)
    soon = await product.call(
        "primary", "POST", f"{path}/rebalances", {"changes": [{"product": "asset-inventory", "units": 600}]}
    )
    assert (soon.status_code, soon.json()["code"]) == (409, "rebalance_too_soon")
    allowed_at = datetime.fromisoformat(soon.json()["next_allowed_at"])
    assert timedelta(days=89, hours=23) < allowed_at - datetime.now(UTC) <= timedelta(days=90)

    for who, status in (("stranger", 404), ("vendor", 200)):
        assert (await product.call(who, "GET", path)).status_code == status
    expired = product.issuer.access_token(PRIMARY, expires_in=-3600)
    other = product.issuer.access_token(PRIMARY, audience="somebody-else")
    for token in (expired, other, "nonsense"):
        answer = await product.http.get(
            f"{product.services['reporting'].url}{path}", headers={"Authorization": f"Bearer {token}"}
        )
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
