"""The quarantine, its replays and the books, as metering published them."""

import asyncio
from datetime import date, timedelta
from typing import Any

import pytest

from services.reporting.store.quarantine import prune_quarantine
from shared.events.commands.metering import ReplayQuarantine, RotateIngestKey
from shared.events.metering import IngestKeyChanged, IngestKeyState
from shared.events.quarantine import (
    BooksChanged,
    BooksLine,
    QuarantinedRecord,
    QuarantineReplay,
    QuarantineReplayChanged,
    UsageQuarantined,
    UsageSettled,
)
from tests.support.builders.published import NOW, PRIMARY, VENDOR
from tests.support.drivers.reporting import ReportingDriver

ROUTES = (
    "/v1/usage/quarantine",
    "/v1/usage/quarantine/1",
    "/v1/usage/quarantine/counts",
    "/v1/usage/quarantine/replays",
    "/v1/usage/quarantine/replays/r-1",
    "/v1/usage/reconciliation",
)


def quarantined(number: int, **changes: Any) -> UsageQuarantined:
    record = {
        "id": str(number),
        "topic": "usage.events",
        "partition": 0,
        "offset": number,
        "received_at": NOW + timedelta(minutes=number),
        "quarantined_at": NOW,
        "reason": "unknown_product",
        "detail": "no such product is in the catalogue",
        "source": "/platforms/scan",
        "product": "scan",
        "value": '{"id": "\0 e"}',
        "value_bytes": 14,
        "version": 1,
        **changes,
    }
    return UsageQuarantined(record=QuarantinedRecord.model_validate(record))


def settled(number: int, version: int = 2) -> UsageSettled:
    return UsageSettled(record=str(number), settled_at=NOW, settled_as="applied", version=version)


def line(day: int, revision: int = 1, **changes: Any) -> BooksChanged:
    figures = {"accepted": 10, "applied": 7, "duplicate": 2, "quarantined": 1, **changes}
    about = {"source": "/platforms/scan", "product": "scan", "revision": revision}
    return BooksChanged(line=BooksLine.model_validate({"day": date(2026, 11, day), **about, **figures}))


def replay(version: int, **changes: Any) -> QuarantineReplayChanged:
    state = {"id": "r-1", "wanted": {}, "requested_at": NOW, "requested_by": VENDOR, "state": "running", **changes}
    return QuarantineReplayChanged(replay=QuarantineReplay.model_validate({**state, "version": version}))


async def ids(driver: ReportingDriver, query: str) -> list[str]:
    return [item["id"] for item in (await driver.get(f"/v1/usage/quarantine?{query}"))["items"]]


async def test_quarantine_is_filtered(driver: ReportingDriver) -> None:
    await driver.apply(
        quarantined(1),
        quarantined(2, reason="malformed", source="unknown", product="unknown"),
        quarantined(3, subscription="sub-1"),
        quarantined(4, product="Bad Product!"),
        settled(3),
    )
    assert await ids(driver, "") == ["4", "3", "2", "1"]
    assert await ids(driver, "reason=malformed") == ["2"]
    assert await ids(driver, "source=/platforms/scan&product=scan") == ["3", "1"]
    assert await ids(driver, "product=Bad Product!") == ["4"]
    assert await ids(driver, "subscription=sub-1") == ["3"]
    assert await ids(driver, "settled=true") == ["3"]
    assert await ids(driver, "settled=false") == ["4", "2", "1"]
    at = f"{NOW + timedelta(minutes=2):%Y-%m-%dT%H:%M:%SZ}"
    assert await ids(driver, f"from={at}") == ["4", "3", "2"]
    assert await ids(driver, f"to={at}") == ["1"]
    one = await driver.get("/v1/usage/quarantine/3")
    assert (one["settled_as"], one["value"], one["value_bytes"]) == ("applied", '{"id": "\0 e"}', 14)
    missing = await driver.ask("GET", "/v1/usage/quarantine/99")
    assert (missing.status_code, missing.json()["code"]) == (404, "not_found")


async def test_pages_of_the_quarantine_have_no_gap_and_no_repeat(driver: ReportingDriver) -> None:
    await driver.apply(*(quarantined(number) for number in range(1, 8)))
    seen: list[str] = []
    cursor = ""
    while True:
        body = await driver.get(f"/v1/usage/quarantine?limit=3{cursor}")
        seen += [item["id"] for item in body["items"]]
        if body["next_cursor"] is None:
            break
        cursor = f"&cursor={body['next_cursor']}"
    assert seen == ["7", "6", "5", "4", "3", "2", "1"]
    assert (await driver.ask("GET", "/v1/usage/quarantine?cursor=bad")).status_code == 422


async def test_record_is_unchanged_by_repeats_and_older_versions(driver: ReportingDriver) -> None:
    await driver.apply(quarantined(1), settled(1, version=3))
    await driver.apply(quarantined(1), quarantined(1, reason="unknown_meter", version=2), settled(1, version=3))
    one = await driver.get("/v1/usage/quarantine/1")
    assert (one["settled_as"], one["reason"]) == ("applied", "unknown_product")


async def test_settled_records_are_deleted_and_quarantined_ones_retained(driver: ReportingDriver) -> None:
    await driver.apply(quarantined(1), quarantined(2), settled(1), replay(1))
    for age, left in ((timedelta(0), ["2", "1"]), (timedelta(seconds=1), ["2"])):
        async with driver.runtime.pool.acquire() as connection:
            await prune_quarantine(connection, NOW + age)
        assert await ids(driver, "") == left
    assert (await driver.get("/v1/usage/quarantine/replays"))["items"] == []


async def test_counts_are_per_day_product_source_and_reason(driver: ReportingDriver) -> None:
    await driver.apply(
        *(quarantined(number) for number in (1, 2, 3)),
        quarantined(4, reason="malformed"),
        quarantined(5, received_at=NOW - timedelta(days=1)),
        settled(2),
    )
    items = (await driver.get("/v1/usage/quarantine/counts"))["items"]
    assert [(item["reason"], item["waiting"], item["settled"]) for item in items] == [
        ("malformed", 1, 0),
        ("unknown_product", 2, 1),
        ("unknown_product", 1, 0),
    ]
    assert items[0]["day"] == f"{NOW:%Y-%m-%d}"
    first = await driver.get("/v1/usage/quarantine/counts?limit=2")
    rest = await driver.get(f"/v1/usage/quarantine/counts?limit=2&cursor={first['next_cursor']}")
    assert [*first["items"], *rest["items"]] == items
    assert rest["next_cursor"] is None


async def test_pages_of_counts_have_no_repeat_when_records_arrive_between(driver: ReportingDriver) -> None:
    widest = "\U0001f600" * 200
    await driver.apply(
        *(quarantined(number, product=f"p-{number}", source=widest) for number in range(2, 7)),
        quarantined(7, product="p-3", source="/a"),
        quarantined(8, product="p-3", source=widest, reason="malformed"),
        quarantined(9, product="p-1", received_at=NOW - timedelta(days=1)),
    )
    whole = (await driver.get("/v1/usage/quarantine/counts"))["items"]
    seen: list[Any] = []
    cursor = ""
    for number in range(20, 40):
        body = await driver.get(f"/v1/usage/quarantine/counts?limit=1{cursor}")
        seen += body["items"]
        if body["next_cursor"] is None:
            break
        cursor = f"&cursor={body['next_cursor']}"
        await driver.apply(
            quarantined(number, product="p-0", source=f"/new/{number}")
        )  # before every page that follows
    assert seen == whole
    assert len(whole) == 8
    for bad in ("WyIxIl0", "WyJ4IiwiYSIsImIiLCJjIl0"):  # of another list; of no day
        assert (await driver.ask("GET", f"/v1/usage/quarantine/counts?cursor={bad}")).status_code == 422


async def test_lost_records_are_shown_in_the_books(driver: ReportingDriver) -> None:
    lost = {"accepted": 0, "applied": 0, "duplicate": 0, "quarantined": 0}
    await driver.apply(line(20), line(21, **lost, lost=7, source="unknown"), line(20, revision=2, lost=1))
    whole = await driver.get("/v1/usage/reconciliation")
    assert [(item["source"], item["lost"], item["balanced"]) for item in whole["items"]] == [
        ("/platforms/scan", 1, True),
        ("unknown", 7, True),
    ]
    assert (whole["totals"]["lost"], whole["totals"]["accepted"], whole["totals"]["balanced"]) == (8, 10, True)


async def test_record_is_found_by_its_subscription_when_that_becomes_known(driver: ReportingDriver) -> None:
    await driver.apply(quarantined(1), quarantined(1, subscription="sub-1", version=2))
    assert await ids(driver, "subscription=sub-1") == ["1"]


async def test_reconciliation_has_the_newest_lines_and_their_sum(driver: ReportingDriver) -> None:
    await driver.apply(line(20), line(21, revision=5), line(22, product="hub"), line(21, revision=4, accepted=99))
    whole = await driver.get("/v1/usage/reconciliation")
    assert [(item["day"], item["accepted"], item["balanced"]) for item in whole["items"]] == [
        ("2026-11-20", 10, True),
        ("2026-11-21", 10, True),
        ("2026-11-22", 10, True),
    ]
    assert whole["totals"] == {
        "accepted": 30,
        "applied": 21,
        "duplicate": 6,
        "quarantined": 3,
        "lost": 0,
        "balanced": True,
    }
    for query, days in [
        ("from=2026-11-21&to=2026-11-21", ["2026-11-21"]),
        ("from=2026-11-21T09:00:00Z&to=2026-11-22T00:00:00Z", ["2026-11-21"]),
        ("from=2026-11-21T09:00:00Z&to=2026-11-22T00:00:01Z", ["2026-11-21", "2026-11-22"]),
        ("product=hub", ["2026-11-22"]),
        ("source=/platforms/other", []),
    ]:
        seen = await driver.get(f"/v1/usage/reconciliation?{query}")
        assert [item["day"] for item in seen["items"]] == days, query
        assert seen["totals"]["accepted"] == 10 * len(days)
    first = await driver.get("/v1/usage/reconciliation?limit=2")
    rest = await driver.get(f"/v1/usage/reconciliation?limit=2&cursor={first['next_cursor']}")
    assert first["items"] + rest["items"] == whole["items"]
    assert first["totals"] == whole["totals"]


@pytest.mark.parametrize("route", ROUTES)
async def test_usage_books_are_visible_to_the_vendor_only(driver: ReportingDriver, route: str) -> None:
    await driver.apply(quarantined(1), replay(1))
    assert (await driver.ask("GET", route, PRIMARY)).status_code == 403
    assert (await driver.ask("GET", route)).status_code == 200


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        ({"id": "17"}, {"id": "17"}),
        ({"all": True}, {}),
        ({"filter": {"reason": "unknown_meter", "product": "scan"}}, {"reason": "unknown_meter", "product": "scan"}),
        ({"filter": {"from": "2026-11-20T00:00:00Z"}}, {"start": "2026-11-20T00:00:00Z"}),
    ],
)
async def test_replay_is_requested_and_shows_its_progress(
    driver: ReportingDriver, body: dict[str, Any], wanted: dict[str, Any]
) -> None:
    asking = asyncio.create_task(driver.ask("POST", "/v1/usage/quarantine/replay", json=body))
    (sent,) = await driver.sent()
    payload = sent.command.data
    assert isinstance(payload, ReplayQuarantine)
    assert payload.wanted.model_dump(mode="json", exclude_none=True) == wanted
    assert sent.outgoing.key == payload.replay.encode()
    outcome = replay(1, id=payload.replay, wanted=payload.wanted, state="waiting")
    await driver.decide(sent.command, outcome, resource=payload.replay, version=1)
    answer = (await asking).json()
    assert (answer["id"], answer["state"], answer["judged"]) == (payload.replay, "waiting", 0)
    await driver.apply(replay(3, id=payload.replay, state="finished", total=5, judged=5, applied=5), replay(2))
    seen = await driver.get(f"/v1/usage/quarantine/replays/{payload.replay}")
    assert (seen["state"], seen["judged"], seen["total"]) == ("finished", 5, 5)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"all": False},
        {"id": "1", "all": True},
        {"id": 1},
        {"id": "x"},
        {"id": "1" * 19},
        {"filter": {"other": 1}},
        {"filter": {"reason": "\0"}},
        {"filter": {"from": "2026-11-20T00:00:00"}},
    ],
)
async def test_replay_is_refused_when_its_body_selects_nothing(driver: ReportingDriver, body: dict[str, Any]) -> None:
    answer = await driver.ask("POST", "/v1/usage/quarantine/replay", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


@pytest.mark.parametrize(
    ("body", "overlap"), [(None, 86_400), ({}, 86_400), ({"overlap_seconds": 0}, 0), ({"overlap_seconds": 60}, 60)]
)
async def test_ingest_key_is_rotated(driver: ReportingDriver, body: dict[str, Any] | None, overlap: int) -> None:
    old = IngestKeyState.model_validate(
        {"id": "k-1", "product": "scan", "created_at": NOW, "created_by": VENDOR, "version": 1}
    )
    await driver.apply(IngestKeyChanged(ingest_key=old))
    arguments: dict[str, Any] = {} if body is None else {"json": body}
    asking = asyncio.create_task(driver.ask("POST", "/v1/ingest-keys/k-1/rotate", **arguments))
    (sent,) = await driver.sent()
    payload = sent.command.data
    assert isinstance(payload, RotateIngestKey)
    assert (payload.key, payload.overlap_seconds, sent.outgoing.key) == ("k-1", overlap, b"scan")
    ends = old.model_copy(update={"expires_at": NOW, "replaced_by": payload.new_key, "version": 2})
    new = old.model_copy(update={"id": payload.new_key, "replaces": "k-1"})
    await driver.decide(
        sent.command, IngestKeyChanged(ingest_key=ends), IngestKeyChanged(ingest_key=new), resource=new.id, version=1
    )
    answer = (await asking).json()
    assert (answer["id"], answer["replaces"]) == (new.id, "k-1")
    assert answer["key"].startswith("upk_")
    assert (await driver.get("/v1/ingest-keys/k-1"))["replaced_by"] == new.id


async def test_rotation_is_refused_when_its_body_is_not_json(driver: ReportingDriver) -> None:
    answer = await driver.ask("POST", "/v1/ingest-keys/k-1/rotate", content=b"overlap=1")
    assert answer.status_code == 415
