"""The rows of reports against what the API answers the same person."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from shared.events.envelope import rfc3339
from tests.support.builders.people import person_id
from tests.support.builders.published import (
    ALLOCATOR,
    AUDITOR,
    NOW,
    PRIMARY,
    START,
    USERADMIN,
    VENDOR,
    VIEWER,
)
from tests.support.builders.reports import OTHER, THERE, consumption, states
from tests.support.drivers.report_rows import read_objects
from tests.support.drivers.reporting import ReportingDriver
from tests.support.servers.databases import as_owner, connect

SUB = "/v1/subscriptions/sub-1"


@pytest.fixture
async def full(empty: ReportingDriver) -> ReportingDriver:
    """Fill every report."""
    await empty.apply(*states())
    await empty.measure(*consumption())
    return empty


def text(at: Any) -> str | None:
    """An instant as the API writes it."""
    return None if at is None else rfc3339(at)


@pytest.mark.parametrize("who", [VENDOR, PRIMARY, VIEWER, AUDITOR])
async def test_summaries_are_the_overviews(full: ReportingDriver, who: str) -> None:
    rows = await read_objects(full, "subscription-summary", who)
    assert [row["subscription"] for row in rows] == (["sub-1", "sub-2", "sub-3"] if who == VENDOR else ["sub-1"])
    for row in rows:
        shown = await full.get(f"/v1/subscriptions/{row['subscription']}", who)
        same = ("account", "name", "model", "state", "unit_label", "purchased", "allocated", "consumed", "unallocated")
        for name in (*same, "unused", "over_allocated", "drawn"):
            assert row[name] == shown[name], name
        for kind in ("term", "window"):
            found = [text(row[f"{kind}_start"]), text(row[f"{kind}_end"])]
            assert found == [shown[kind]["start"], shown[kind]["end"]]
        assert row["term_days_left"] == shown["term"]["days_left"]
        assert text(row["as_of"]) == shown["as_of"]
        clock = {"allowed": row["rebalance_allowed"], "every_days": row["rebalance_every_days"]}
        times = {name: text(row[f"rebalance_{name}"]) for name in ("next_allowed_at", "last_at")}
        assert clock | times == shown["rebalance"]
    assert (rows[0]["currency"], rows[0]["cost"]) == ("EUR", Decimal("8500.00"))
    assert rows[-1]["cost"] == (None if who == VENDOR else Decimal("8500.00"))


@pytest.mark.parametrize("who", [VENDOR, PRIMARY, ALLOCATOR])
async def test_products_are_those_of_the_overview_with_their_windows(full: ReportingDriver, who: str) -> None:
    rows = [row for row in await read_objects(full, "product-utilisation", who) if row["subscription"] == "sub-1"]
    shown = await full.get(SUB, who)
    assert [row["product"] for row in rows] == [one["product"] for one in shown["products"]]
    for row, one in zip(rows, shown["products"], strict=True):
        for name in ("allocated", "consumed", "unused", "class", "policy", "restricted", "floor", "drawn"):
            assert row[name] == one[name], name
        assert (row["product_name"], row["utilisation"]) == (one["name"], Decimal(str(one["utilisation"])))
        assert row["cost_allocated"] == Decimal(one["cost"]["allocated_minor"]) / 100
        assert row["cost_consumed"] == Decimal(one["cost"]["consumed_minor"]) / 100
        usage = (await full.get(f"{SUB}/usage?from={START:%Y-%m-%dT%H:%M:%SZ}&product={row['product']}", who))["items"]
        closed = [item["consumed"] for item in usage if item["end"] <= rfc3339(NOW)]
        assert [row[f"window_{ago}"] for ago in range(1, 7)] == [*reversed(closed), None, None, None]
    assert await read_objects(full, "product-utilisation", who, subscription="sub-1", product="calls") == rows[1:]


@pytest.mark.parametrize("who", [VENDOR, PRIMARY, VIEWER])
async def test_usage_by_window_is_that_of_the_api(full: ReportingDriver, who: str) -> None:
    start = START + timedelta(days=20)
    for chosen in ({}, {"from": rfc3339(start)}, {"from": rfc3339(start), "to": rfc3339(NOW), "product": "calls"}):
        query = "&".join(f"{name}={value}" for name, value in chosen.items())
        items = (await full.get(f"{SUB}/usage?{query}", who))["items"]
        named = {f"{name}_" if name == "from" else name: value for name, value in chosen.items()}
        rows = await read_objects(full, "usage-by-window", who, subscription="sub-1", **named)  # type: ignore[arg-type]
        assert items
        assert [
            {
                **{name: row[name] for name in ("product", "meter", "consumed", "provisional", "revision")},
                "start": text(row["start"]),
                "end": text(row["end"]),
                "aggregate": int(row["aggregate"]),  # type: ignore[arg-type]
                "term": row["term_consumed"],
            }
            for row in rows
        ] == [
            {
                **{name: one[name] for name in ("product", "meter", "consumed", "provisional", "revision")},
                **{name: one[name] for name in ("start", "end", "aggregate")},
                "term": (one.get("term_to_date") or {"consumed": None})["consumed"],
            }
            for one in items
        ]
    assert await read_objects(full, "usage-by-window", who, meter="other") == []


@pytest.mark.parametrize("who", [VENDOR, PRIMARY, AUDITOR])
async def test_the_history_of_allocations_is_that_of_the_api(full: ReportingDriver, who: str) -> None:
    items = (await full.get(f"{SUB}/allocations", who))["items"]
    rows = await read_objects(full, "allocation-history", who, subscription="sub-1")
    assert len(rows) == 3
    assert [row["reason"] for row in rows] == [None, "urgent", None]
    assert [row["difference"] for row in rows] == [500, -100, 100]
    names = ("product", "kind", "before", "after", "actor", "reason", "starts_clock", "version")
    assert [{**{name: row[name] for name in names}, "at": text(row["at"])} for row in reversed(rows)] == [
        {name: one[name] for name in (*names, "at")} for one in items
    ]
    assert [row["product"] for row in await read_objects(full, "allocation-history", who, product="calls")] == ["calls"]
    day = f"{NOW - timedelta(days=2):%Y-%m-%d}"
    assert len(await read_objects(full, "allocation-history", who, from_=day, to=day)) == 2


async def test_the_history_of_allocations_ends_at_the_instant(full: ReportingDriver) -> None:
    for days, count in ((1, 3), (2, 3), (3, 1), (10, 0)):
        rows = await read_objects(full, "allocation-history", as_of=NOW - timedelta(days=days))
        assert len(rows) == count, days


@pytest.mark.parametrize("who", [VENDOR, PRIMARY, VIEWER])
async def test_purchases_are_those_of_the_api(full: ReportingDriver, who: str) -> None:
    items = (await full.get(f"{SUB}/purchases", who))["items"]
    rows = await read_objects(full, "purchases", who, subscription="sub-1")
    assert [row["lot"] for row in rows] == ["lot-1", "lot-2", "lot-3"]
    assert rows[1]["void_reason"] == "a wrong order"
    for row, one in zip(reversed(rows), items, strict=True):
        assert row["lot"] == one["id"]
        for name in ("units", "order_reference", "valid", "void_reason"):
            assert row[name] == one[name], name
        for name in ("start", "end", "purchased_at", "voided_at"):
            assert text(row[name]) == one[name], name
    price = items[-1]["price"]
    assert (rows[0]["total"], rows[0]["unit_price"]) == (Decimal("8500.00"), Decimal("8.50"))
    assert (rows[0]["discount_percent"], rows[0]["years"], rows[0]["arithmetic"]) == (
        Decimal(15),
        "1",
        price["arithmetic"],
    )


async def test_purchases_are_those_that_were_known_at_the_instant(full: ReportingDriver) -> None:
    async def lots(at: datetime) -> list[tuple[Any, ...]]:
        rows = await read_objects(full, "purchases", as_of=at, subscription="sub-1")
        return [(row["lot"], row["valid"], row["void_reason"]) for row in rows]

    assert await lots(NOW - timedelta(days=20)) == [("lot-1", True, None)]
    assert await lots(NOW - timedelta(days=7)) == [("lot-1", True, None), ("lot-2", True, None)]
    assert await lots(NOW - timedelta(days=4)) == [("lot-1", True, None), ("lot-2", False, "a wrong order")]


async def test_overage_is_what_nothing_covers(full: ReportingDriver) -> None:
    rows = await read_objects(full, "overage", PRIMARY)
    (shown,) = [one for one in (await full.get(SUB, PRIMARY))["products"] if one["consumed"] > one["allocated"]]
    (row,) = rows
    assert row["product"] == shown["product"] == "calls"
    assert (row["consumed"], row["beyond"], row["drawn"], row["overage"]) == (
        130,
        30,
        shown["drawn"],
        30 - shown["drawn"],
    )
    assert row["over_since"] == NOW - timedelta(days=3)
    assert row["restricted_from"] == NOW + timedelta(days=42)
    assert (row["currency"], row["cost"]) == ("EUR", Decimal(0))
    assert await read_objects(full, "overage", PRIMARY, product="scan") == []


@pytest.mark.parametrize("who", [VENDOR, PRIMARY, VIEWER])
async def test_alerts_are_those_of_the_api(full: ReportingDriver, who: str) -> None:
    items = (await full.get(f"{SUB}/alerts", who))["items"]
    rows = await read_objects(full, "alerts", who)
    assert [row["alert"] for row in rows] == ["alert-2", "alert-1"]
    for row, one in zip(reversed(rows), items, strict=True):
        assert row["alert"] == one["id"]
        for name in ("rule", "scope", "product", "severity", "threshold", "state", "acknowledged_by", "message"):
            assert row[name] == one[name], name
        assert (text(row["raised_at"]), text(row["acknowledged_at"])) == (one["raised_at"], one["acknowledged_at"])
        assert float(row["value_at"]) == one["value_at"]  # type: ignore[arg-type]
    assert rows[1]["acknowledged_by"] == ALLOCATOR
    (earlier,) = await read_objects(full, "alerts", who, as_of=NOW - timedelta(hours=2), product="scan")
    assert (earlier["state"], earlier["acknowledged_by"]) == ("active", None)
    assert [row["alert"] for row in await read_objects(full, "alerts", who, as_of=NOW - timedelta(days=2))] == [
        "alert-2"
    ]


async def test_deliveries_show_no_secret_of_their_channel(full: ReportingDriver) -> None:
    rows = await read_objects(full, "deliveries", PRIMARY)
    assert [(row["delivery"], row["outcome"], row["attempts"]) for row in rows] == [
        ("delivery-1", "delivered", 1),
        ("delivery-2", "dead", 2),
    ]
    (channel,) = (await full.get(f"{SUB}/alert-channels", PRIMARY))["items"]
    assert {row["address"] for row in rows} == {channel["url"]} == {"https://hooks.example/****CRET"}


@pytest.mark.parametrize("who", [VENDOR, PRIMARY, AUDITOR, USERADMIN, THERE])
async def test_roles_are_held_by_those_whom_the_api_shows(full: ReportingDriver, who: str) -> None:
    rows = await read_objects(full, "roles-and-permissions", who, account="acme")
    application = [row for row in rows if row["product"]]
    views = (await full.get("/v1/accounts/acme/roles", who))["items"]
    assert {row["role"] for row in application} == {one["role"] for one in views} == {"scan-own", "scan-reader"}
    for view in views:
        mine = [row for row in application if row["role"] == view["role"]]
        assert {row["person"] for row in mine} - {None} == set(view["members"])
        held = [row for row in mine if row["difference"] != "removed"]
        assert {row["permission"] for row in held} == {one["permission"] for one in view["permissions"]}
        for kind in ("added", "removed"):
            found = {row["permission"] for row in mine if row["difference"] == kind}
            assert found == set((view["difference"] or {kind: ()})[kind])
    hidden = {THERE} if who in {PRIMARY, AUDITOR, USERADMIN} else set()
    assert not hidden & {row["person"] for row in rows}
    granted = {(row["subscription"], row["role"], row["person"]) for row in rows if row["subscription"]}
    if who == USERADMIN:
        assert {row[:2] for row in granted} == {
            ("sub-1", r) for r in ("primary", "viewer", "allocator", "auditor", "useradmin")
        }
        grants = (await full.get(f"{SUB}/grants", who))["items"]
        given = {("sub-1", grant, one["email"]) for one in grants for grant in one["grants"]}
        assert granted == given | {("sub-1", "primary", PRIMARY)}
    elif who == THERE:
        assert granted == {("sub-2", "auditor", THERE), ("sub-2", "primary", "paul@acme.example")}


async def test_roles_of_a_product_are_those_in_its_application(full: ReportingDriver) -> None:
    rows = await read_objects(full, "roles-and-permissions", product="scan")
    assert {(row["subscription"], row["product"]) for row in rows} == {(None, "scan")}
    assert await read_objects(full, "roles-and-permissions", product="calls") == []
    assert {row["account"] for row in await read_objects(full, "roles-and-permissions", OTHER)} == {"globex"}


async def test_the_books_and_the_quarantine_are_those_of_the_api(full: ReportingDriver) -> None:
    lines = (await full.get("/v1/usage/reconciliation"))["items"]
    rows = await read_objects(full, "reconciliation")
    assert len(rows) == 3
    assert [{**row, "day": str(row["day"])} for row in rows] == lines
    day = f"{NOW - timedelta(days=1):%Y-%m-%d}"
    assert [row["day"] for row in await read_objects(full, "reconciliation", from_=day, to=day)] == [rows[1]["day"]]
    items = (await full.get("/v1/usage/quarantine"))["items"]
    records = await read_objects(full, "quarantine")
    assert len(records) == 3
    for row, one in zip(reversed(records), items, strict=True):
        assert (str(row["id"]), row["event"]) == (one["id"], one["event_id"])
        for name in ("reason", "detail", "product", "source", "subscription", "topic", "partition", "offset", "value"):
            assert row[name] == one[name], name
        assert (text(row["settled_at"]), row["settled_as"]) == (one["settled_at"], one["settled_as"])
    assert [row["id"] for row in await read_objects(full, "quarantine", reason="too_old")] == [1, 3]
    assert await read_objects(full, "quarantine", product="calls") == []


POISON = {
    "subscription-summary": "UPDATE subscriptions SET state = '{}' WHERE id = 'sub-2'",
    "product-utilisation": "UPDATE subscriptions SET state = state || '{\"terms\": 5}' WHERE id = 'sub-2'",
    "purchases": "UPDATE subscriptions SET state = state || '{\"lots\": 5}' WHERE id = 'sub-2'",
    "focus-commitments": "UPDATE subscriptions SET state = state || '{\"lots\": 5}' WHERE id = 'sub-2'",
    "overage": "UPDATE subscriptions SET state = '[]' WHERE id = 'sub-2'",
    "usage-by-window": "UPDATE consumption SET meters = '[{}]' WHERE subscription = 'sub-3'",
    "alerts": "UPDATE alerts SET state = '{}' WHERE id = 'alert-2'",
    "deliveries": "UPDATE channels SET state = '[]'",
    "roles-and-permissions": "UPDATE roles SET state = '{}' WHERE role = 'scan-own'",
    "quarantine": "UPDATE quarantine SET state = '{' WHERE id = 2",
    "audit": "UPDATE audit_log SET recorded = 'not JSON', record = '[]' WHERE chain_sequence = 2 AND account = 'acme'",
}


@pytest.mark.parametrize("report", POISON)
async def test_a_row_that_cannot_be_read_costs_only_itself(full: ReportingDriver, report: str) -> None:
    """It is left out; of the audit log its text is shown, as it is evidence."""
    before = await read_objects(full, report)
    async with connect(as_owner(full.runtime.settings.database_url.get_secret_value())) as connection:
        await connection.execute(POISON[report])
    after = await read_objects(full, report)
    if report == "audit":
        assert [row["event"] for row in after] == [row["event"] for row in before]
        assert {row["recorded"] for row in after} - {row["recorded"] for row in before} == {"not JSON"}
    elif report == "deliveries":
        assert [row["delivery"] for row in after] == [row["delivery"] for row in before]
    else:
        left = [str(row) for row in before]
        assert after, "the others are there"
        assert all(str(row) in left for row in after)
        assert report == "overage" or len(after) < len(before)


async def test_an_erased_person_is_shown_by_the_first_digits_of_their_id(full: ReportingDriver) -> None:
    async with full.runtime.pool.acquire() as connection:
        await connection.execute("DELETE FROM people WHERE id = $1", person_id(ALLOCATOR))
        await connection.execute("DELETE FROM people WHERE email = $1", VENDOR)
    erased = f"Erased person {person_id(ALLOCATOR)[:4]}"
    vendor = f"Erased person {person_id(VENDOR)[:4]}"
    changes = await read_objects(full, "allocation-history")
    assert {(row["actor"], row["reason"]) for row in changes} == {(PRIMARY, None), (vendor, vendor), (erased, None)}
    assert erased in {row["acknowledged_by"] for row in await read_objects(full, "alerts")}
    assert vendor in {row["void_reason"] for row in await read_objects(full, "purchases")}
    assert erased in {row["person"] for row in await read_objects(full, "roles-and-permissions")}
