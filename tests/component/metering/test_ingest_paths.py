"""Ingest through product topics, with every codec, and while Kafka is away."""

import json
from typing import Any

import httpx
from aiokafka import AIOKafkaProducer

from deploy.local.topics import create_topics
from shared.events.topics import product_of, product_usage
from shared.runtime.process.clock import utc_now
from tests.support.builders.metering import event
from tests.support.drivers.metering import KEY, Metering, usage_request
from tests.support.drivers.metering_clients import encoded, send
from tests.support.servers.databases import connect

_CUT = """
SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE application_name = 'metering-entitlements' AND datname = $1
"""


async def reasons(metering: Metering) -> list[tuple[str, str]]:
    async with connect(metering.dsn) as connection:
        rows = await connection.fetch("SELECT reason, topic FROM quarantine ORDER BY id")
    return [(row["reason"], row["topic"]) for row in rows]


def test_only_a_product_has_a_topic_of_its_own() -> None:
    assert product_of(product_usage("scan").name) == "scan"
    for name in ("usage.events", "usage.events.metering.dlq", "usage.events.", "usage.events.A", "x.usage.events.a"):
        assert product_of(name) is None


async def test_a_product_topic_is_read_and_refuses_usage_of_other_products(metering: Metering) -> None:
    await create_topics(metering.servers, metering.prefix, [product_usage("scan")])
    now = utc_now()
    mine, other = event("p-1", at=now, resource="a"), event("p-2", "web", "app", at=now)
    topic = f"{metering.prefix}usage.events.scan"
    await send(metering.client, topic, [encoded(mine), encoded(other)])
    await metering.publish([mine])
    books = await metering.accepted(3)
    assert books == {"accepted": 3, "applied": 1, "duplicate": 1, "quarantined": 1}
    assert await reasons(metering) == [("source_not_allowed", "usage.events.scan")]
    metering.process.kill()
    await send(metering.client, topic, [encoded(event("p-3", at=now, resource="b"))])
    metering.process.start()
    await metering.accepted(4)
    assert "consumer:usage.events.scan" in str(await metering.process.readiness())


async def test_batches_are_read_with_every_codec_and_extreme_values(metering: Metering) -> None:
    now, topic = utc_now(), f"{metering.prefix}usage.events"
    for codec in ("gzip", "snappy", "lz4", "zstd"):
        client = AIOKafkaProducer(bootstrap_servers=metering.servers, compression_type=codec)
        await client.start()
        try:
            await send(
                client, topic, [encoded(event(f"{codec}-{n}", at=now, resource=f"{codec}-{n}")) for n in range(50)]
            )
        finally:
            await client.stop()
    huge = [("h", b"x" * 500_000)]
    await metering.client.send_and_wait(topic, encoded(event("huge", at=now, resource="ü\U0001f600"))[1], headers=huge)
    bad: list[dict[str, Any]] = [
        {**event("old", resource="a"), "time": "1970-01-01T00:00:00Z"},
        {**event("far", resource="a"), "time": "2100-01-01T00:00:00Z"},
        {**event("v03", at=now, resource="a"), "specversion": "0.3"},
        event("i" * 10_000, at=now, resource="a"),
    ]
    for item in bad:
        await metering.client.send_and_wait(topic, encoded(item)[1], b"one key")
    assert await metering.accepted(205) == {"accepted": 205, "applied": 201, "duplicate": 0, "quarantined": 4}
    assert [reason for reason, _ in await reasons(metering)] == ["too_old", "too_far_ahead", "malformed", "malformed"]


async def test_records_carry_the_correlation_of_their_request_when_sent_by_http(metering: Metering) -> None:
    now, trace = utc_now(), f"00-{'a' * 32}-{'b' * 16}-01"
    good, bad = event("c-1", at=now, resource="a"), event("c-2", at=now, resource="a", subject="unknown")
    async with httpx.AsyncClient(base_url=metering.process.url, timeout=60) as http:
        for n, headers in enumerate(({"X-Correlation-Id": "mine-1", "traceparent": trace}, {}, {"traceparent": "bad"})):
            request = usage_request(good, bad)
            request["headers"] |= headers
            assert (await http.post("/v1/usage", **request)).status_code == 202
            await metering.accepted(2 * n + 2)
    assert await metering.accepted(6) == {"accepted": 6, "applied": 1, "duplicate": 2, "quarantined": 3}
    async with connect(metering.dsn) as connection:
        rows = await connection.fetch("SELECT headers, event_id FROM quarantine ORDER BY id")
    sent = [{name: bytes.fromhex(value).decode() for name, value in json.loads(row["headers"])} for row in rows]
    assert sent == [{"unitpool-correlation-id": "mine-1", "traceparent": trace}, {}, {}]
    assert metering.process.log is not None
    lines = [json.loads(line) for line in metering.process.log.read_text().splitlines() if "usage_quarantined" in line]
    assert [(one["level"], one["records"], one["reasons"], one["correlation_ids"]) for one in lines] == [
        ("info", 1, {"unknown_subscription": 1}, ["mine-1"]),
        ("info", 1, {"unknown_subscription": 1}, []),
        ("info", 1, {"unknown_subscription": 1}, []),
    ]


async def test_valid_events_are_accepted_when_one_of_five_thousand_is_bad(metering: Metering) -> None:
    now = utc_now()
    events = [event(f"b-{n}", at=now, resource=f"r-{n}") for n in range(5000)]
    events[4321] = event("bad", at=now, resource="r", quantity=-1)
    async with httpx.AsyncClient(base_url=metering.process.url, timeout=60) as http:
        answer = await http.post("/v1/usage", **usage_request(*events))
    body = answer.json()
    assert (answer.status_code, body["accepted"]) == (202, 4999)
    assert [(one["index"], one["code"]) for one in body["refused"]] == [(4321, "invalid_quantity")]
    assert (await metering.accepted(4999))["applied"] == 4999


async def test_entitlements_are_answered_while_kafka_is_away(metering: Metering, kafka_server: Any) -> None:
    await metering.publish([event("k", at=utc_now(), resource="a")])
    await metering.accepted(1)
    auth, params = {"authorization": f"Bearer {KEY}"}, {"subscription": "sub-1", "product": "scan"}
    kafka_server.kill()
    try:
        async with httpx.AsyncClient(base_url=metering.process.url, timeout=10) as http:
            for _ in range(5):
                answer = await http.get("/v1/entitlements", params=params, headers=auth)
                assert (answer.status_code, answer.json()["consumed"]) == (200, 1)
    finally:
        kafka_server.restart()


async def test_entitlements_are_answered_again_after_their_connection_was_cut(
    metering: Metering, postgres_server: Any
) -> None:
    await metering.publish([event("k", at=utc_now(), resource="a")])
    await metering.accepted(1)
    auth, params = {"authorization": f"Bearer {KEY}"}, {"subscription": "sub-1", "product": "scan"}
    async with (
        connect(postgres_server.admin_dsn) as administrator,
        httpx.AsyncClient(base_url=metering.process.url, timeout=10) as http,
    ):
        for _ in range(3):
            answer = await http.get("/v1/entitlements", params=params, headers=auth)
            if answer.status_code == 503:  # requested before the cut was noticed
                answer = await http.get("/v1/entitlements", params=params, headers=auth)
            assert (answer.status_code, answer.json()["consumed"]) == (200, 1)
            assert await administrator.fetchval(_CUT, metering.dsn.rpartition("/")[2]) == 1, "they share a connection"


async def test_a_key_gets_retry_after_when_it_exceeds_its_limit(metering: Metering) -> None:
    async with connect(metering.dsn) as connection:
        await connection.execute("UPDATE ingest_key SET events_per_second = 5")
    async with httpx.AsyncClient(base_url=metering.process.url) as http:
        now = utc_now()
        first = [event(f"l-{n}", at=now, resource="a") for n in range(15)]
        assert (await http.post("/v1/usage", **usage_request(*first))).status_code == 202
        answer = await http.post("/v1/usage", **usage_request(first[0]))
        assert (answer.status_code, answer.json()["code"], answer.headers["Retry-After"]) == (
            429,
            "too_many_requests",
            "1",
        )
