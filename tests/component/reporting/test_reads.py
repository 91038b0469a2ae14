"""Reads of the API, and who may see them."""

import json
from typing import Any

from shared.events.alerts import AlertAcknowledged, ChannelChanged, ChannelState
from shared.events.outcomes import AuditRecord, DecisionRecorded
from tests.support.builders.published import (
    ALLOCATOR,
    AUDITOR,
    NOW,
    PRIMARY,
    STRANGER,
    USERADMIN,
    VENDOR,
    VIEWER,
    WINDOW,
    account,
    alert,
    created,
    plan,
    product,
    snapshot,
    subscription,
    team,
)
from tests.support.drivers.reporting import ReportingDriver


async def test_overview_has_exactly_the_promised_members(driver: ReportingDriver) -> None:
    await driver.measure(snapshot(322))
    body = await driver.get("/v1/subscriptions/sub-1", PRIMARY)
    assert list(body) == [
        *("id", "account", "name", "model", "state", "unit_label", "version", "term", "window"),
        *("purchased", "allocated", "consumed", "unallocated", "unused", "over_allocated", "as_of"),
        *("rebalance", "products", "drawn", "rates_locked_at", "renewal"),
    ]
    assert (body["purchased"], body["allocated"], body["consumed"]) == (1000, 400, 322)
    assert (body["unallocated"], body["unused"], body["over_allocated"]) == (600, 78, 0)
    assert body["window"] == {"start": "2026-02-15T00:00:00Z", "end": "2026-03-02T00:00:00Z", "days_left": 10}
    assert body["rebalance"] == {"allowed": True, "next_allowed_at": None, "every_days": 90, "last_at": None}
    (shown,) = body["products"]
    assert shown.pop("meters") == [
        {
            "meter": "host",
            "aggregation": "unique",
            "reset": "window",
            "aggregate": 322,
            "units": 1,
            "block": 1,
            "rate_version": 1,
            "consumed": 322,
            "peak_at": None,
            "provisional": True,
        }
    ]
    assert shown == {
        "product": "scan",
        "name": "Scan",
        "allocated": 400,
        "consumed": 322,
        "unused": 78,
        "utilisation": 80.5,
        "class": "healthy",
        "policy": "soft",
        "restricted": False,
        "floor": 322,
        "drawn": 0,
        "cost": None,
    }


async def test_overview_has_its_version_as_etag(driver: ReportingDriver) -> None:
    answer = await driver.ask("GET", "/v1/subscriptions/sub-1")
    assert answer.headers["etag"] == '"1"'


async def test_floor_is_the_larger_of_this_and_the_last_closed_window(driver: ReportingDriver) -> None:
    await driver.measure(snapshot(10), snapshot(55, windows_ago=1), snapshot(99, windows_ago=2))
    (shown,) = (await driver.get("/v1/subscriptions/sub-1"))["products"]
    assert (shown["consumed"], shown["floor"], shown["class"]) == (10, 55, "under")


async def test_term_to_date_is_that_of_the_newest_window(empty: ReportingDriver) -> None:
    state = subscription(allocated={"calls": 100})
    await empty.apply(account(), product("calls", aggregation="sum", reset="term"), created(state))
    await empty.measure(*(snapshot(n, windows_ago=ago, product="calls", reset="term") for n, ago in ((30, 3), (45, 2))))
    (shown,) = (await empty.get("/v1/subscriptions/sub-1"))["products"]
    assert (shown["consumed"], shown["floor"], shown["meters"][0]["aggregate"]) == (45, 45, 45)


async def test_subscription_is_visible_to_the_people_with_a_role_in_it(driver: ReportingDriver) -> None:
    for who in (VENDOR, PRIMARY, VIEWER, ALLOCATOR, AUDITOR):
        assert (await driver.ask("GET", "/v1/subscriptions/sub-1", who)).status_code == 200, who


async def test_subscription_is_not_found_for_a_stranger(driver: ReportingDriver) -> None:
    for path in ("", "/purchases", "/allocations", "/usage", "/alerts", "/alert-channels", "/stream"):
        answer = await driver.ask("GET", f"/v1/subscriptions/sub-1{path}", STRANGER)
        unknown = await driver.ask("GET", f"/v1/subscriptions/no-such{path}", STRANGER)
        assert answer.status_code == unknown.status_code == 404, path
        assert answer.json() == unknown.json()


async def test_user_administrator_does_not_see_units(driver: ReportingDriver) -> None:
    assert (await driver.ask("GET", "/v1/subscriptions/sub-1", USERADMIN)).status_code == 403


async def test_lists_contain_only_what_the_caller_may_see(driver: ReportingDriver) -> None:
    assert (await driver.get("/v1/subscriptions", STRANGER))["items"] == []
    assert (await driver.get("/v1/accounts", STRANGER))["items"] == []
    assert [one["id"] for one in (await driver.get("/v1/subscriptions", VIEWER))["items"]] == ["sub-1"]
    assert [one["id"] for one in (await driver.get("/v1/accounts", VIEWER))["items"]] == ["acme"]
    assert (await driver.ask("GET", "/v1/accounts/acme", STRANGER)).status_code == 404


async def test_me_lists_the_permissions_of_the_caller(driver: ReportingDriver) -> None:
    mine = await driver.get("/v1/me", ALLOCATOR)
    assert mine["email"] == ALLOCATOR
    assert mine["vendor"] is False
    (one,) = mine["subscriptions"]
    assert (one["id"], one["role"]) == ("sub-1", "allocator")
    assert "allocate" in one["permissions"]
    assert "set_policy" not in one["permissions"]


async def test_pages_have_no_gap_and_no_repeat(empty: ReportingDriver) -> None:
    await empty.apply(*(created(subscription(f"sub-{n:02}")) for n in range(7)))
    found: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = await empty.get(f"/v1/subscriptions?limit=3{f'&cursor={cursor}' if cursor else ''}")
        found += [one["id"] for one in page["items"]]
        cursor = page["next_cursor"]
    assert found == [f"sub-{n:02}" for n in range(7)]


async def test_history_of_allocations_is_newest_first_and_paged(driver: ReportingDriver) -> None:
    for version, (before, after) in enumerate([(400, 500), (500, 300), (300, 350)], start=2):
        state = subscription(version=version, allocated={"scan": after})
        await driver.apply(plan(state, before, after))
    first = await driver.get("/v1/subscriptions/sub-1/allocations?limit=2", VIEWER)
    rest = await driver.get(f"/v1/subscriptions/sub-1/allocations?cursor={first['next_cursor']}", VIEWER)
    seen = sorted((one["version"], one["before"], one["after"]) for one in first["items"] + rest["items"])
    assert seen == [(2, 400, 500), (3, 500, 300), (4, 300, 350)]
    assert rest["next_cursor"] is None


async def test_usage_by_window_has_its_items(driver: ReportingDriver) -> None:
    await driver.measure(snapshot(10), snapshot(7, windows_ago=1, revision=4))
    body = await driver.get("/v1/subscriptions/sub-1/usage", VIEWER)
    assert [(one["consumed"], one["provisional"], one["revision"]) for one in body["items"]] == [
        (7, False, 4),
        (10, True, 1),
    ]


async def test_usage_of_a_burn_down_adds_up_to_its_term_to_date(empty: ReportingDriver) -> None:
    await empty.apply(account(), product(reset="term", aggregation="sum"), *team(), created())
    await empty.measure(snapshot(9, reset="term", windows_ago=2), snapshot(25, reset="term"))
    path = "/v1/subscriptions/sub-1/usage"
    items = (await empty.get(f"{path}?from=2026-01-01T00:00:00Z", VIEWER))["items"]
    assert [one["consumed"] for one in items] == [0, 9, 0, 16]
    assert [one["term_to_date"] for one in items] == [{"aggregate": n, "consumed": n} for n in (0, 9, 9, 25)]
    assert [one["consumed"] for one in (await empty.get(path, VIEWER))["items"]] == [9, 0, 16]


async def test_alert_shows_its_value_when_raised_and_now(driver: ReportingDriver) -> None:
    await driver.measure(snapshot(350))
    await driver.apply(alert())
    (shown,) = (await driver.get("/v1/subscriptions/sub-1/alerts", VIEWER))["items"]
    assert (shown["value_at"], shown["value_now"], shown["state"]) == (80.5, 87.5, "active")
    state = alert(version=2, state="acknowledged", acknowledged_by=PRIMARY, acknowledged_at=NOW).alert
    await driver.apply(AlertAcknowledged(alert=state), alert())
    (shown,) = (await driver.get("/v1/subscriptions/sub-1/alerts", VIEWER))["items"]
    assert (shown["state"], shown["acknowledged_by"]) == ("acknowledged", PRIMARY)


async def test_removed_channel_is_not_listed(driver: ReportingDriver) -> None:
    state: dict[str, Any] = {
        "id": "c1",
        "subscription": "sub-1",
        "kind": "webhook",
        "url": "https://hooks.example/",
        "created_by": PRIMARY,
        "created_at": NOW,
        "version": 1,
    }
    await driver.apply(ChannelChanged(channel=ChannelState(**state)))
    (shown,) = (await driver.get("/v1/subscriptions/sub-1/alert-channels"))["items"]
    assert "secret" not in shown
    await driver.apply(ChannelChanged(channel=ChannelState(**{**state, "version": 2, "removed_at": NOW})))
    assert (await driver.get("/v1/subscriptions/sub-1/alert-channels"))["items"] == []


async def test_audit_log_is_visible_to_those_who_may_audit(driver: ReportingDriver) -> None:
    def decided(subscription: str | None, actor: str, account: str = "acme") -> DecisionRecorded:
        return DecisionRecorded(
            record=AuditRecord(
                at=NOW,
                account=account,
                subscription=subscription,
                actor=actor,
                action="apply-plan",
                object="x",
                outcome="allowed",
            )
        )

    await driver.apply(decided("sub-1", PRIMARY), decided("sub-2", STRANGER))
    await driver.apply(decided(None, USERADMIN), decided(None, VENDOR, "globex"))
    assert len((await driver.get("/v1/audit"))["items"]) == 4
    assert [one["actor"] for one in (await driver.get("/v1/audit", AUDITOR))["items"]] == [USERADMIN, PRIMARY]
    assert (await driver.get(f"/v1/audit?actor={STRANGER}"))["items"][0]["subscription"] == "sub-2"
    assert (await driver.ask("GET", "/v1/audit", VIEWER)).status_code == 403
    assert (await driver.ask("GET", "/v1/audit", STRANGER)).status_code == 403


async def test_over_allocated_pool_shows_the_excess(empty: ReportingDriver) -> None:
    await empty.apply(account(), product(), created(subscription(allocated={"scan": 1300})))
    body = await empty.get("/v1/subscriptions/sub-1")
    assert (body["unallocated"], body["over_allocated"]) == (0, 300)


async def test_openapi_describes_every_route_and_docs_need_no_network(driver: ReportingDriver) -> None:
    document = (await driver.http.get("/v1/openapi.json")).json()
    assert {"/v1/me", "/v1/subscriptions/{subscription}/rebalances", "/v1/ingest-keys/{key}"} <= set(document["paths"])
    refused = document["paths"]["/v1/me"]["get"]["responses"]["401"]["content"]
    assert list(refused) == ["application/problem+json"]
    assert "Problem" in json.dumps(refused)
    page = await driver.http.get("/v1/docs")
    assert page.status_code == 200
    assert "POST /v1/subscriptions/{subscription}/rebalances" in page.text
    assert "http://" not in page.text
    assert "https://" not in page.text


async def test_window_of_the_fixtures_contains_now() -> None:
    assert WINDOW.start <= NOW < WINDOW.end
