"""The service as it is deployed, over real Kafka, PostgreSQL and HTTP."""

import json
import random
from datetime import timedelta
from decimal import Decimal
from hashlib import sha256
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from shared.events.commands.metering import CreateIngestKey, RevokeIngestKey
from shared.events.ids import ProductId
from shared.events.metering import IngestKeyChanged
from shared.events.outcomes import MeteringCommandDecided
from shared.runtime.process.clock import utc_now
from tests.conftest import StartService
from tests.support.builders.metering import PRODUCTS, START, event, product, subscription
from tests.support.drivers.metering import KEY, Metering, usage_request
from tests.support.drivers.metering_clients import (
    encoded,
    newest_snapshots,
    publish_states,
    until,
)
from tests.support.references.usage import aggregates
from tests.support.servers.databases import connect


def some_usage(count: int, seed: int) -> list[dict[str, Any]]:
    rng, now = random.Random(seed), utc_now()
    meters = [("scan", "host"), ("calls", "call"), ("web", "app")]
    return [
        event(
            f"e-{n}",
            *rng.choice(meters),
            subject=rng.choice(["sub-1", "sub-2"]),
            at=now - timedelta(minutes=rng.randrange(30 * 24 * 60)),
            quantity=rng.choice([1, 2, 3, "0.5"]),
            resource=f"r-{rng.randrange(200)}",
        )
        for n in range(count)
    ]


async def test_usage_becomes_consumption_once_when_the_process_is_killed(metering: Metering) -> None:
    events = some_usage(12_000, seed=1)
    rng = random.Random(2)
    stream = events + rng.choices(events, k=1200)
    rng.shuffle(stream)
    for part in range(0, len(stream), 1100):
        await metering.publish(stream[part : part + 1100])
        if part % 2200:
            metering.process.kill()
            metering.process.start()
    await metering.process.wait_ready()
    books = await metering.accepted(len(stream))
    await metering.drained()
    assert books == {"accepted": 13_200, "applied": 12_000, "duplicate": 1200, "quarantined": 0}
    seen = {
        (one.subscription, one.product, meter.meter, one.window_start): meter.aggregate
        for one in (await newest_snapshots(metering.servers, metering.prefix)).values()
        for meter in one.meters
        if meter.aggregate
    }
    wanted = {key: value for key, (value, _) in aggregates(events).items()}
    for key in sorted(key for key in wanted if key[2] == "call"):
        earlier = [other for other in wanted if other[:3] == key[:3] and START <= other[3] < key[3]]
        if key[3] >= START and earlier:
            wanted[key] += wanted[max(earlier)]
    assert seen == wanted

    async def added() -> int:
        async with connect(metering.dsn) as connection:
            return int(await connection.fetchval("SELECT coalesce(sum(events), 0)::bigint FROM usage_hour"))

    assert await until(added, lambda events: events >= 12_000) == 12_000, "hours are added automatically"


async def test_quarantined_usage_is_applied_when_its_product_is_subscribed_later(metering: Metering) -> None:
    late = product("late", *PRODUCTS[0].meters)
    await metering.publish([event("e-1", "late", at=utc_now(), resource="a"), event("e-2", at=utc_now(), resource="b")])
    assert await metering.accepted(2) == {"accepted": 2, "applied": 1, "duplicate": 0, "quarantined": 1}
    await publish_states(metering.client, metering.prefix, [late], [])
    await publish_states(
        metering.client, metering.prefix, [], [subscription("sub-1", ("scan", "calls", "web", "late"), version=2)]
    )
    books = await until(metering.books, lambda books: books["quarantined"] == 0)
    assert books == {"accepted": 2, "applied": 2, "duplicate": 0, "quarantined": 0}


async def test_ingest_refuses_events_by_index_when_some_of_a_batch_are_bad(metering: Metering) -> None:
    now = utc_now()
    good = event("h-1", at=now, resource="a")
    async with httpx.AsyncClient(base_url=metering.process.url) as http:
        answer = await http.post(
            "/v1/usage",
            **usage_request(
                good,
                good,
                event("h-2", at=now),
                event("h-3", "web", "app", at=now),
                {**event("h-4", at=now, resource="b"), "source": "/platforms/web"},
                event("h-5", at=now, resource="b", quantity=-1),
                {**event("h-6", at=now), "type": "else"},
                event("h-7", at=now, resource="c"),
            ),
        )
        assert answer.status_code == 202, answer.text
        body = answer.json()
        assert (body["accepted"], body["duplicates"]) == (2, 1)
        assert [(one["index"], one["id"], one["code"]) for one in body["refused"]] == [
            (2, "h-2", "missing_resource"),
            (3, "h-3", "source_not_allowed"),
            (4, "h-4", "source_not_allowed"),
            (5, "h-5", "invalid_quantity"),
            (6, "h-6", "unsupported_type"),
        ]
        await metering.accepted(2)
        headers = {"authorization": f"Bearer {KEY}"}
        params: dict[str, Any] = {"subscription": "sub-1", "product": "scan", "units": 98}
        entitled = (await http.get("/v1/entitlements", params=params, headers=headers)).json()
        as_of = entitled.pop("as_of")
        assert as_of > now.isoformat()
        assert entitled == {
            "allowed": True,
            "reason": "within_allocation",
            "allocated": 100,
            "consumed": 2,
            "unused": 98,
            "policy": "soft",
        }
        params["units"] = 99
        assert (await http.get("/v1/entitlements", params=params, headers=headers)).json()["reason"] == (
            "overage_permitted"
        )
        params["product"] = "web"
        assert (await http.get("/v1/entitlements", params=params, headers=headers)).status_code == 403


async def test_ingest_accepts_structured_and_binary_events(metering: Metering) -> None:
    item = event("s-1", at=utc_now(), resource="a")
    auth = {"authorization": f"Bearer {KEY}"}
    attributes = {f"ce-{name}": value for name, value in item.items() if name not in {"data", "id"}}
    async with httpx.AsyncClient(base_url=metering.process.url) as http:
        structured = await http.post(
            "/v1/usage", json=item, headers={**auth, "content-type": "application/cloudevents+json"}
        )
        assert structured.json() == {"accepted": 1, "duplicates": 0, "refused": []}
        binary = await http.post("/v1/usage", json=item["data"], headers={**auth, **attributes, "ce-id": "s%202"})
        assert binary.json() == {"accepted": 1, "duplicates": 0, "refused": []}
    assert await metering.accepted(2) == {"accepted": 2, "applied": 2, "duplicate": 0, "quarantined": 0}


async def test_ingest_says_what_is_wrong_when_a_request_is_refused(metering: Metering) -> None:
    batch = {"content-type": "application/cloudevents-batch+json", "authorization": f"Bearer {KEY}"}
    single = {**batch, "content-type": "application/cloudevents+json"}
    cases: list[tuple[bytes, dict[str, str], int, str]] = [
        (b"[]", {**batch, "authorization": "Bearer wrong"}, 401, "unauthenticated"),
        (b"[]", {"content-type": batch["content-type"]}, 401, "unauthenticated"),
        (b"[]", {**batch, "content-type": "text/plain"}, 415, "unsupported_media_type"),
        (b"{}", {**batch, "content-type": "application/json"}, 415, "unsupported_media_type"),
        (b"[{", batch, 400, "malformed"),
        (b"[" * 100_000, batch, 400, "malformed"),
        (b"{}", batch, 422, "malformed"),
        (b"nothing", single, 400, "malformed"),
        (b"{}", single, 422, "malformed"),
        (json.dumps(event("x", resource="a", quantity=1.5)).encode(), single, 422, "invalid_quantity"),
        (json.dumps(event("x", "web", "app")).encode(), single, 422, "source_not_allowed"),
        (b"[" + b",".join([b"{}"] * 5001) + b"]", batch, 413, "too_large"),
        (b" " * (10 * 1024 * 1024 + 1), batch, 413, "too_large"),
    ]
    async with httpx.AsyncClient(base_url=metering.process.url) as http:
        for content, headers, status, code in cases:
            answer = await http.post("/v1/usage", content=content, headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (status, code), content[:40]
            assert answer.headers["content-type"] == "application/problem+json"
        assert (await http.post("/v1/usage", content=b"[]", headers=batch)).json()["accepted"] == 0


async def test_a_snapshot_has_the_arithmetic_of_its_units(metering: Metering) -> None:
    now = utc_now()
    await metering.publish([event("a", "calls", "call", at=now, quantity="10.5")])
    await metering.publish([event("b", "calls", "call", at=now - timedelta(days=20), quantity=5)])
    await metering.accepted(2)
    await metering.drained()
    newest = list((await newest_snapshots(metering.servers, metering.prefix)).values())
    assert len(newest) == 2, newest
    latest = max(newest, key=lambda one: one.window_start)
    call = latest.meters[0]
    assert (call.aggregate, call.units, call.block, call.consumed) == (Decimal("15.5"), 1, 10, 2)
    assert latest.consumed == 2


async def test_a_key_is_made_and_revoked_by_command(metering: Metering) -> None:
    secret = "brand new"
    create = CreateIngestKey(key="k-1", product=ProductId("scan"), secret_sha256=sha256(secret.encode()).hexdigest())
    auth = {"authorization": f"Bearer {secret}"}

    async def status() -> int:
        async with httpx.AsyncClient(base_url=metering.process.url) as http:
            return (await http.get("/v1/quarantine", headers=auth)).status_code

    await metering.command(create, vendor=False)
    await metering.command(create, vendor=True)
    await until(status, lambda code: code == 200)
    await metering.command(RevokeIngestKey(key="k-1"), vendor=True)
    await until(status, lambda code: code == 401)
    decided = [one for one in await metering.events() if isinstance(one, MeteringCommandDecided)]
    assert [one.refusal.code if one.refusal else None for one in decided] == ["forbidden", None, None]
    states = [one.ingest_key for one in await metering.events() if isinstance(one, IngestKeyChanged)]
    assert [(one.id, one.version, one.revoked_at is not None) for one in states] == [
        ("k-1", 1, False),
        ("k-1", 2, True),
    ]


async def test_bad_records_are_quarantined_and_listed_for_their_platform(metering: Metering) -> None:
    now, topic = utc_now(), f"{metering.prefix}usage.events"
    good = encoded(event("good", at=now, resource="a"))[1]
    await metering.client.send(topic, None, b"tombstone", partition=0)
    await metering.client.send(topic, b"\x00\xff", None, partition=0)
    await metering.client.send(topic, b"x" * 900_000, b"k", partition=0)
    await metering.client.send(topic, good, None, partition=0)
    await metering.client.send(
        topic,
        encoded(event("bad", at=now, quantity="1e400", resource="a"))[1],
        b"k",
        partition=0,
        headers=[("ce", b"\xff\xfe"), ("huge", b"h" * 10_000)],
    )
    await metering.client.send(topic, encoded(event("good-2", at=now, resource="b"))[1], b"k", partition=0)
    assert await metering.accepted(6) == {"accepted": 6, "applied": 2, "duplicate": 0, "quarantined": 4}
    async with httpx.AsyncClient(base_url=metering.process.url) as http:
        answer = await http.get("/v1/quarantine", headers={"authorization": f"Bearer {KEY}"})
    (item,) = answer.json()["items"]
    assert (item["reason"], item["event_id"], item["offset"]) == ("invalid_quantity", "bad", 4)
    assert json.loads(item["event"])["data"]["quantity"] == "1e400"


async def test_metrics_count_usage_by_outcome(metering: Metering) -> None:
    await metering.publish([event("a", at=utc_now(), resource="r")] * 2 + [event("b", at=utc_now())])
    await metering.accepted(3)

    async def scrape() -> dict[tuple[str, ...], float]:
        async with httpx.AsyncClient(base_url=metering.process.url) as http:
            text = (await http.get("/metrics")).text
        return {
            (sample.name, *sample.labels.values()): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    seen = await until(scrape, lambda seen: seen[("unitpool_publish_to_consumption_seconds_count",)] > 0)
    assert seen["unitpool_usage_events_total", "applied"] == 1
    assert seen["unitpool_usage_events_total", "duplicate"] == 1
    assert seen["unitpool_usage_quarantined_total", "missing_resource"] == 1
    assert seen[("unitpool_usage_batch_seconds_count",)] >= 1
    assert seen[("unitpool_publish_to_consumption_seconds_count",)] == 1


async def test_usage_counts_once_when_one_of_two_processes_is_killed(
    metering: Metering, service_process: StartService
) -> None:
    other = service_process("metering", metering.env)
    await other.wait_ready()
    events = some_usage(3000, seed=5)
    await metering.publish(events[:1500])
    metering.process.kill()
    await metering.publish(events)
    books = await metering.accepted(4500)
    assert books == {"accepted": 4500, "applied": 3000, "duplicate": 1500, "quarantined": 0}
    await metering.drained()


async def test_usage_is_applied_when_its_subscriptions_are_still_being_read(metering: Metering) -> None:
    metering.process.kill()
    states = [subscription(f"new-{n}", ("scan",)) for n in range(1500)]
    await publish_states(metering.client, metering.prefix, [], states)
    await metering.publish(
        [event(f"e-{n}", subject=f"new-{n}", at=utc_now(), resource="a") for n in range(0, 1500, 100)]
    )
    metering.process.start()
    assert await metering.accepted(15) == {"accepted": 15, "applied": 15, "duplicate": 0, "quarantined": 0}
    async with connect(metering.dsn) as connection:
        assert await connection.fetchval("SELECT count(*) FROM quarantine") == 0
