"""Reporting and allocation as processes, with real Kafka between them."""

import asyncio
from uuid import uuid4

from tests.support.builders.published import PRIMARY, STRANGER, VIEWER
from tests.support.drivers.reporting_processes import ReportingProcesses, sell_subscription


async def test_pool_is_bought_allocated_and_rebalanced_through_the_api(
    processes: ReportingProcesses,
) -> None:
    subscription = await sell_subscription(processes)
    path = f"/v1/subscriptions/{subscription}"
    first = await processes.done(f"{path}/allocations", {"product": "scan", "units": 600}, PRIMARY)
    assert (first["purchased"], first["allocated"], first["unallocated"]) == (1000, 600, 400)
    assert "command_id" in first

    refusal = await processes.refused(f"{path}/allocations", {"product": "hub", "units": 500}, PRIMARY)
    assert refusal["code"] == "insufficient_units"
    assert (refusal["purchased"], refusal["allocated"], refusal["available"]) == (1000, 600, 400)
    assert (await processes.refused(f"{path}/allocations", {"product": "hub", "units": 1}, STRANGER))[
        "code"
    ] == "not_found"

    plan = {"changes": [{"product": "scan", "units": 300}, {"product": "hub", "units": 700}]}
    preview = await processes.done(f"{path}/rebalances", {**plan, "preview": True}, PRIMARY)
    assert (preview["preview"], preview["unallocated_after"], preview["starts_clock"]) == (True, 0, True)
    assert (await processes.ask("GET", path, PRIMARY)).json()["allocated"] == 600
    applied = await processes.done(f"{path}/rebalances", plan, PRIMARY)
    assert {one["product"]: one["allocated"] for one in applied["products"]} == {"scan": 300, "hub": 700}
    assert applied["rebalance"]["allowed"] is False
    late = await processes.refused(f"{path}/rebalances", {"changes": [{"product": "hub", "units": 1}]}, PRIMARY)
    assert late["code"] == "rebalance_too_soon"
    assert late["next_allowed_at"]
    stale = await processes.refused(
        f"{path}/rebalances", {"changes": [{"product": "hub", "units": 700}]}, PRIMARY, **{"If-Match": '"1"'}
    )
    assert stale["code"] == "stale_version"
    history = (await processes.ask("GET", f"{path}/allocations", PRIMARY)).json()["items"]
    assert [one["kind"] for one in history] == ["rebalance", "rebalance", "allocation"]
    assert {one["actor"] for one in history} == {PRIMARY}


async def test_repeat_has_one_effect_when_many_arrive_at_once(processes: ReportingProcesses) -> None:
    subscription = await sell_subscription(processes)
    path, key = f"/v1/subscriptions/{subscription}", {"Idempotency-Key": str(uuid4())}
    body = {"units": 50, "order_reference": "PO-2"}
    answers = await asyncio.gather(
        *(processes.ask("POST", f"{path}/purchases", json=body, headers=key) for _ in range(8))
    )
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.json()["purchased"] for answer in answers} == {1050}
    other = await processes.ask("POST", f"{path}/purchases", json={**body, "units": 51}, headers=key)
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_key_reused")
    audit = (await processes.ask("GET", "/v1/audit")).json()["items"]
    assert audit


async def test_stream_sends_a_change_and_does_not_delay_a_stop(processes: ReportingProcesses) -> None:
    subscription = await sell_subscription(processes)
    path = f"/v1/subscriptions/{subscription}"
    async with processes.watch(f"{path}/stream", PRIMARY) as stream_events:
        assert (await asyncio.wait_for(anext(stream_events), 10))["what"] == "missed"
        await processes.done(f"{path}/allocations", {"product": "scan", "units": 10}, PRIMARY)
        assert (await asyncio.wait_for(anext(stream_events), 10)) == {
            "subscription": subscription,
            "what": "subscription",
        }
        assert await processes.service.terminate(10) == 0


async def test_read_models_are_the_same_after_a_rebuild(processes: ReportingProcesses) -> None:
    subscription = await sell_subscription(processes)
    path = f"/v1/subscriptions/{subscription}"
    key = {"Idempotency-Key": str(uuid4())}
    body = {"product": "scan", "units": 10}
    await processes.ask("POST", f"{path}/allocations", PRIMARY, json=body, headers=key)
    prices = {"currency": "EUR", "list_price_minor": 1000, "tiers": [{"from_units": 0, "discount_basis_points": 0}]}
    await processes.done("/v1/price-list", prices, method="PUT")
    person = {"email": VIEWER, "name": "Victor"}
    await processes.done("/v1/accounts/acme/people", person, PRIMARY)
    await processes.done("/v1/accounts/acme/roles/scan-reader/members", {"email": VIEWER}, PRIMARY)
    await processes.done(f"{path}/grants/{VIEWER}", {"grants": ["viewer"]}, PRIMARY, method="PUT")
    paths = [
        *("/v1/accounts", "/v1/catalogue/products", path, f"{path}/allocations", "/v1/audit", "/v1/price-list"),
        *("/v1/accounts/acme/people", "/v1/accounts/acme/roles", f"{path}/grants", "/v1/applications/scan"),
    ]
    before = [(await processes.ask("GET", one)).json() for one in paths]
    chains = await processes.run("verify-audit")
    assert "acme: " in chains
    await processes.run("rebuild")
    await processes.service.wait_ready()  # the process learns of the end of a rebuild by its next poll
    assert [(await processes.ask("GET", one)).json() for one in paths] == before
    assert await processes.run("verify-audit") == chains
    again = await processes.ask("POST", f"{path}/allocations", PRIMARY, json=body, headers=key)
    assert (again.status_code, again.json()["version"]) == (200, before[2]["version"])
