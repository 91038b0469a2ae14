"""The lifecycle of a pool, its people and prices, through the API and allocation."""

import asyncio
from typing import Any
from uuid import uuid4

from tests.support.builders.published import (
    ALLOCATOR,
    AUDITOR,
    PRIMARY,
    STRANGER,
    USERADMIN,
    VENDOR,
    VIEWER,
)
from tests.support.drivers.reporting_processes import ReportingProcesses, sell_subscription

PRICES: dict[str, Any] = {
    "currency": "EUR",
    "list_price_minor": 1000,
    "tiers": [
        {"from_units": 0, "discount_basis_points": 0},
        {"from_units": 10_000, "discount_basis_points": 800},
        {"from_units": 50_000, "discount_basis_points": 1500},
    ],
}
TEAM = {VIEWER: "viewer", ALLOCATOR: "allocator", AUDITOR: "auditor", USERADMIN: "useradmin"}


async def staffed(processes: ReportingProcesses) -> str:
    """Create an account whose delegates have one grant each; return the path."""
    path = f"/v1/subscriptions/{await sell_subscription(processes)}"
    for email, grant in TEAM.items():
        person = {"email": email, "name": grant.title()}
        added = await processes.done("/v1/accounts/acme/people", person, PRIMARY)
        assert (added["email"], added["enabled"], added["subscriptions"]) == (email, True, [])
        given = await processes.done(f"{path}/grants/{email}", {"grants": [grant]}, PRIMARY, method="PUT")
        assert (given["email"], given["grants"]) == (email, [grant])
    return path


async def statuses(
    processes: ReportingProcesses, path: str, *people: str, method: str = "GET", body: Any = None
) -> list[int]:
    """Return the status that each person's request gets."""
    return [(await processes.ask(method, path, who, json=body)).status_code for who in people]


async def test_delegates_may_do_exactly_what_their_grant_permits(processes: ReportingProcesses) -> None:
    path = await staffed(processes)
    everybody = (VENDOR, PRIMARY, VIEWER, ALLOCATOR, AUDITOR, USERADMIN, STRANGER)
    assert await statuses(processes, path, *everybody) == [200, 200, 200, 200, 200, 403, 404]
    for part in ("/purchases", "/allocations", "/usage", "/alerts"):
        assert await statuses(processes, path + part, *everybody) == [200, 200, 200, 200, 200, 403, 404], part
    assert await statuses(processes, f"{path}/grants", *everybody) == [200, 200, 403, 403, 200, 200, 404]
    for part in ("people", "roles"):
        found = await statuses(processes, f"/v1/accounts/acme/{part}", *everybody)
        assert found == [200, 200, 403, 403, 200, 200, 404], part
    assert await statuses(processes, "/v1/audit", *everybody) == [200, 200, 403, 403, 200, 403, 403]
    for number, (who, status) in enumerate(zip(everybody, (403, 200, 403, 200, 403, 403, 404), strict=True), start=1):
        plan = {"product": "scan", "units": number}
        assert await statuses(processes, f"{path}/allocations", who, method="POST", body=plan) == [status], who
    person = {"email": "new@acme.example", "name": "New"}
    others = (VIEWER, AUDITOR, STRANGER)
    found = await statuses(processes, "/v1/accounts/acme/people", *others, method="POST", body=person)
    assert found == [403, 403, 404]
    added = await processes.done("/v1/accounts/acme/people", person, USERADMIN)
    assert added["email"] == "new@acme.example"


async def test_write_answers_with_the_id_when_its_effect_is_invisible_to_the_caller(
    processes: ReportingProcesses,
) -> None:
    path = await staffed(processes)
    given = await processes.done(f"{path}/primary-contact", {"email": ALLOCATOR}, PRIMARY, method="PUT")
    assert given == {"id": path.split("/")[-1], "command_id": given["command_id"]}
    assert await statuses(processes, path, PRIMARY, ALLOCATOR) == [404, 200]
    again = await processes.refused(f"{path}/products", {"product": "scan"}, PRIMARY)
    assert again["code"] == "not_found"


async def test_hand_over_is_refused_when_the_person_is_unknown_or_inactive(processes: ReportingProcesses) -> None:
    path = await staffed(processes)
    for email in ("nobody@acme.example", STRANGER):
        answer = await processes.ask("PUT", f"{path}/primary-contact", PRIMARY, json={"email": email})
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
        assert answer.json()["errors"][0]["field"] == "email"
        answer = await processes.ask("PUT", f"{path}/grants/{email}", PRIMARY, json={"grants": ["viewer"]})
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "email")
    for change in ("PATCH", "DELETE"):
        body = {"enabled": False} if change == "PATCH" else None
        answer = await processes.ask(change, f"/v1/accounts/acme/people/{PRIMARY}", VENDOR, json=body)
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "email"), answer.text
    audit = (await processes.ask("GET", "/v1/audit?outcome=denied", VENDOR)).json()["items"]
    assert {"set-primary-contact", "set-grants", "change-person", "remove-person"} <= {one["action"] for one in audit}


async def test_person_has_no_access_while_disabled_and_after_removal(
    processes: ReportingProcesses,
) -> None:
    path = await staffed(processes)
    person = f"/v1/accounts/acme/people/{VIEWER}"
    off = await processes.done(person, {"enabled": False}, USERADMIN, method="PATCH")
    assert (off["enabled"], off["subscriptions"]) == (False, [])
    assert await statuses(processes, path, VIEWER) == [404]
    await processes.done(person, {"enabled": True, "name": "Victor"}, USERADMIN, method="PATCH")
    assert await statuses(processes, path, VIEWER) == [200]
    gone = await processes.ask("DELETE", person, USERADMIN)
    assert (gone.status_code, gone.json()["removed_at"] is not None) == (200, True)
    assert await statuses(processes, path, VIEWER) == [404]
    listed = (await processes.ask("GET", "/v1/accounts/acme/people", USERADMIN)).json()["items"]
    assert VIEWER not in [one["email"] for one in listed]
    taken = await processes.ask("DELETE", f"{path}/grants/{ALLOCATOR}", PRIMARY)
    assert (taken.status_code, taken.json()["grants"]) == (200, [])
    assert await statuses(processes, path, ALLOCATOR) == [404]


async def test_roles_come_with_a_product_are_customised_compared_given_and_reset(processes: ReportingProcesses) -> None:
    await staffed(processes)
    roles = "/v1/accounts/acme/roles"
    listed = (await processes.ask("GET", f"{roles}?product=scan", USERADMIN)).json()["items"]
    assert [one["role"] for one in listed] == ["scan-auditor", "scan-manager", "scan-operator", "scan-reader"]
    assert all(one["difference"] == {"added": [], "removed": []} for one in listed)

    wanted = {"permissions": ["page.use", "data.read", "data.export"]}
    changed = await processes.done(f"{roles}/scan-reader", wanted, USERADMIN, method="PATCH")
    assert (changed["customised"], changed["difference"]) == (True, {"added": ["data.export"], "removed": []})
    given = await processes.done(f"{roles}/scan-reader/members", {"email": VIEWER}, USERADMIN)
    assert given["members"] == [VIEWER]
    members = (await processes.ask("GET", f"{roles}/scan-reader/members", AUDITOR)).json()["items"]
    assert members == [{"email": VIEWER, "name": "Viewer", "active": True}]

    own = {"product": "scan", "name": "Night Shift", "permissions": ["tasks.run"]}
    made = await processes.done(roles, own, PRIMARY)
    assert (made["role"], made["is_default"], made["difference"]) == ("scan-night-shift", False, None)

    view = (await processes.ask("GET", "/v1/applications/scan?account=acme", PRIMARY)).json()
    assert (view["default_roles"], view["roles"][0]["name"]) == (4, "Scan Manager")
    rows = {one["permission"]: one for one in view["permissions"]}
    assert rows["data.export"]["held_by"][0]["email"] == VIEWER
    assert rows["data.export"]["default_roles"] == ["Scan Manager", "Scan Operator"]
    assert rows["page.use"]["category"] == rows["api.use"]["category"]
    seen = (await processes.ask("GET", "/v1/applications/scan", VIEWER)).json()
    assert all(one["held_by"] == [] for one in seen["permissions"])
    assert await statuses(processes, "/v1/applications/scan?account=acme", VIEWER, STRANGER) == [403, 404]

    templates = await processes.ask("GET", "/v1/catalogue/products/scan")
    body = {name: templates.json()[name] for name in ("permissions", "roles")}
    reader = next(one for one in body["roles"] if one["role"] == "scan-reader")
    reader["permissions"] = ["page.use"]
    await processes.done("/v1/catalogue/products/scan/roles", body, method="PUT")
    kept = (await processes.ask("GET", f"{roles}/scan-reader", USERADMIN)).json()
    assert kept["difference"] == {"added": ["data.export", "data.read"], "removed": []}
    reset = await processes.done(f"{roles}/scan-reader/reset", None, USERADMIN)
    assert (reset["customised"], [one["permission"] for one in reset["permissions"]]) == (False, ["page.use"])
    back = await processes.ask("DELETE", f"{roles}/scan-reader/members/{VIEWER}", USERADMIN)
    assert back.json()["members"] == []


async def test_name_is_refused_when_it_contains_markup(processes: ReportingProcesses) -> None:
    await staffed(processes)
    roles, people = "/v1/accounts/acme/roles", "/v1/accounts/acme/people"
    markup = "<b>Boss</b>"
    before = (await processes.ask("GET", roles, PRIMARY)).json()
    for method, path, body in (
        ("POST", roles, {"product": "scan", "name": markup, "permissions": []}),
        ("PATCH", f"{roles}/scan-reader", {"name": markup}),
        ("POST", people, {"email": "x@acme.example", "name": markup}),
        ("PATCH", f"{people}/{VIEWER}", {"name": markup}),
    ):
        answer = await processes.ask(method, path, PRIMARY, json=body)
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "name"), answer.text
    assert (await processes.ask("GET", roles, PRIMARY)).json() == before


async def test_units_have_a_price_with_its_arithmetic(processes: ReportingProcesses) -> None:
    assert await statuses(processes, "/v1/price-list", VENDOR) == [404]
    assert (await processes.refused("/v1/quotes", {"units": 5}))["code"] == "not_found"
    prices = await processes.done("/v1/price-list", PRICES, method="PUT")
    assert (prices["version"], len(prices["tiers"])) == (1, 3)
    subscription = await sell_subscription(processes)
    path = f"/v1/subscriptions/{subscription}"
    quote = await processes.done("/v1/quotes", {"units": 50_000}, PRIMARY)
    assert (quote["unit_price_minor"], quote["total_minor"]) == (850, 42_500_000)
    wanted = "50,000 units x 8.50 EUR x 1 year = 425,000.00 EUR (list 10.00 EUR less 15% from 50,000 units)"
    assert quote["arithmetic"] == wanted
    top_up = await processes.done("/v1/quotes", {"units": 9_000, "subscription": subscription}, PRIMARY)
    assert (top_up["committed_units"], top_up["unit_price_minor"]) == (1000, 920)
    answer = await processes.ask("POST", "/v1/quotes", STRANGER, json={"units": 1, "subscription": subscription})
    assert answer.status_code == 404
    (lot,) = (await processes.ask("GET", f"{path}/purchases", PRIMARY)).json()["items"]
    assert (lot["price"]["unit_price_minor"], lot["valid"]) == (1000, True)
    await processes.done(f"{path}/allocations", {"product": "scan", "units": 500}, PRIMARY)
    overview = (await processes.ask("GET", path, PRIMARY)).json()
    costs = {one["product"]: one["cost"]["allocated_minor"] for one in overview["products"]}
    half_up = (lot["price"]["total_minor"] + 1) // 2  # the total depends on the day: it may be odd
    assert costs == {"scan": half_up, "hub": 0}
    bad = await processes.ask("PUT", "/v1/price-list", json={**PRICES, "tiers": PRICES["tiers"][1:]})
    assert (bad.status_code, bad.json()["errors"][0]["field"]) == (422, "tiers.0.from_units")
    assert await statuses(processes, "/v1/price-list", PRIMARY, method="PUT", body=PRICES) == [403]


async def test_contract_is_locked_voided_renewed_and_cancelled(processes: ReportingProcesses) -> None:
    path = f"/v1/subscriptions/{await sell_subscription(processes)}"
    locked = await processes.done(f"{path}/rate-lock", {"locked": True}, method="PUT")
    assert locked["rates_locked_at"] is not None
    kept = await processes.ask("PUT", f"{path}/rate-lock", json={"locked": False})
    assert (kept.status_code, kept.json()["errors"][0]["field"]) == (422, "locked")

    await processes.done(f"{path}/allocations", {"product": "scan", "units": 900}, PRIMARY)
    ended = await processes.ask("DELETE", f"{path}/products/hub")
    assert [one["product"] for one in ended.json()["products"]] == ["scan"]
    history = (await processes.ask("GET", f"{path}/allocations", PRIMARY)).json()["items"]
    assert (history[0]["product"], history[0]["kind"], history[0]["after"]) == ("hub", "unsubscribed", 0)
    await processes.done(f"{path}/purchases", {"units": 50, "order_reference": "PO-2"})
    wrong = (await processes.ask("GET", f"{path}/purchases")).json()["items"][0]
    voided = await processes.done(f"{path}/purchases/{wrong['id']}/void", {"reason": "Entered twice"})
    assert voided["purchased"] == 1000
    lot = next(one for one in (await processes.ask("GET", f"{path}/purchases")).json()["items"] if one["units"] == 50)
    assert (lot["void_reason"], lot["valid"]) == ("Entered twice", False)

    renewal = {"end": "2029-01-01T00:00:00Z", "units": 800, "order_reference": "PO-3"}
    renewed = await processes.done(f"{path}/renew", renewal)
    assert renewed["renewal"] == {
        "start": "2028-01-01T00:00:00Z",
        "end": "2029-01-01T00:00:00Z",
        "units": 800,
        "carries_over": False,
    }
    assert (await processes.refused(f"{path}/renew", {**renewal, "order_reference": "PO-4"}))[
        "code"
    ] == "already_exists"
    key = {"Idempotency-Key": str(uuid4())}
    for _ in range(2):
        answer = await processes.ask("POST", f"{path}/cancel", json={"reason": "Merged"}, headers=key)
        assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")
    assert (await processes.refused(f"{path}/purchases", {"units": 1, "order_reference": "x"}))["code"] == (
        "subscription_not_active"
    )


async def until_products(processes: ReportingProcesses, path: str, *products: str) -> None:
    """Wait until the subscription has exactly these products."""
    async with asyncio.timeout(20):
        while True:
            overview = (await processes.ask("GET", path, PRIMARY)).json()
            if [one["product"] for one in overview["products"]] == list(products):
                return
            await asyncio.sleep(0.05)


async def test_product_returns_its_units_and_stays_readable_when_retired(processes: ReportingProcesses) -> None:
    path = f"/v1/subscriptions/{await sell_subscription(processes)}"
    await processes.done(f"{path}/allocations", {"product": "hub", "units": 400}, PRIMARY)
    assert await statuses(processes, "/v1/catalogue/products/hub/retire", PRIMARY, method="POST") == [403]
    assert (await processes.done("/v1/catalogue/products/hub/retire", None))["retired_at"] is not None
    await until_products(processes, path, "scan")
    assert (await processes.ask("GET", path, PRIMARY)).json()["allocated"] == 0
    history = (await processes.ask("GET", f"{path}/allocations?product=hub", PRIMARY)).json()["items"]
    assert [(one["kind"], one["before"], one["after"]) for one in history] == [
        ("retired", 400, 0),
        ("allocation", 0, 400),
    ]
    assert (await processes.ask("GET", "/v1/accounts/acme/roles/hub-manager", PRIMARY)).status_code == 200
    assert (await processes.ask("GET", "/v1/applications/hub", PRIMARY)).json()["retired_at"] is not None
    refusal = await processes.refused(f"{path}/products", {"product": "hub"}, PRIMARY)
    assert refusal["code"] == "product_retired"


async def test_per_product_subscription_has_people_but_no_pool_until_it_is_converted(
    processes: ReportingProcesses,
) -> None:
    await sell_subscription(processes)
    body = {"account": "acme", "name": "Acme licences", "model": "per_product"}
    times = {"start": "2026-01-01T00:00:00Z", "end": "2028-01-01T00:00:00Z"}
    contact = {"primary_contact": {"email": PRIMARY, "name": "Paula"}}
    path = f"/v1/subscriptions/{(await processes.done('/v1/subscriptions', {**body, **times, **contact}))['id']}"
    for part in ("", "/purchases", "/allocations", "/usage", "/alerts", "/grants"):
        assert await statuses(processes, path + part, PRIMARY) == [200], part
    for part, wanted in (
        ("/purchases", {"units": 1, "order_reference": "x"}),
        ("/products", {"product": "scan"}),
        ("/rebalances", {"changes": [{"product": "scan", "units": 1}]}),
    ):
        who = PRIMARY if part == "/rebalances" else VENDOR
        assert (await processes.refused(path + part, wanted, who))["code"] == "not_a_flex_subscription", part
    person = {"email": VIEWER, "name": "Victor"}
    await processes.done("/v1/accounts/acme/people", person, PRIMARY)
    await processes.done(f"{path}/grants/{VIEWER}", {"grants": ["viewer"]}, PRIMARY, method="PUT")
    assert await statuses(processes, path, VIEWER) == [200]
    assert (await processes.done(f"{path}/convert", {"model": "flex"}))["model"] == "flex"
    assert (await processes.done(f"{path}/purchases", {"units": 5, "order_reference": "x"}))["purchased"] == 5


async def test_bad_input_is_refused_by_code_and_field_changes_nothing_and_is_audited(
    processes: ReportingProcesses,
) -> None:
    path = await staffed(processes)
    before = (await processes.ask("GET", path, PRIMARY)).json()
    outside = {"units": 1, "order_reference": "x", "start": "2025-01-01T00:00:00Z"}
    renewal = {"units": 1, "order_reference": "x"}
    beyond = {"units": 1, "order_reference": "x", "end": "2029-01-01T00:00:00Z"}
    for part, body, who, code, field in (
        ("/rebalances", {"changes": [{"product": "nothing", "units": 1}]}, PRIMARY, "product_not_subscribed", None),
        ("/allocations", {"product": "scan", "units": 1001}, PRIMARY, "insufficient_units", None),
        ("/purchases", outside, VENDOR, "invalid_request", "start"),
        ("/purchases", beyond, VENDOR, "invalid_request", "end"),
        ("/purchases/no-such-lot/void", {"reason": "x"}, VENDOR, "not_found", None),
        ("/renew", {**renewal, "end": "2027-01-01T00:00:00Z"}, VENDOR, "invalid_request", "end"),
        ("/renew", {"end": "2029-01-01T00:00:00Z"}, VENDOR, "invalid_request", "units"),
    ):
        refusal = await processes.refused(path + part, body, who)
        assert refusal["code"] == code, (part, refusal)
        if field:
            assert field in [one["field"] for one in refusal["errors"]], (part, refusal)
    for part, body, field in (
        ("", {"end": "2025-01-01T00:00:00Z"}, "end"),
        ("", {"start": "2026-01-01T00:00:00Z", "end": "2026-01-01T00:00:00Z"}, "end"),
    ):
        times = {"start": "2026-01-01T00:00:00Z", "end": "2028-01-01T00:00:00Z"}
        contact = {"primary_contact": {"email": PRIMARY, "name": "Paula"}}
        whole = {"account": "acme", "name": "x", "model": "flex", **times, **contact, **body}
        refusal = await processes.refused(f"/v1/subscriptions{part}", whole)
        assert [one["field"] for one in refusal["errors"]] == [field]
    assert (await processes.ask("GET", path, PRIMARY)).json() == before
    denied = (await processes.ask("GET", "/v1/audit?outcome=denied", AUDITOR)).json()["items"]
    actions = [one["action"] for one in denied]
    assert actions.count("apply-plan") == 2
    assert {"purchase-lot", "void-lot", "renew-subscription"} <= set(actions)
    assert all(one["reason"] for one in denied)
