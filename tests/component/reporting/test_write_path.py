"""Writes: one command per request, its outcome in the answer, and repeats."""

import asyncio
import hashlib
from typing import Any
from uuid import uuid4

import pytest

from services.reporting import commands
from shared.events.alerts import AlertAcknowledged, ChannelChanged, ChannelState
from shared.events.commands.alerts import AddChannel
from shared.events.commands.metering import CreateIngestKey
from shared.events.commands.plans import ApplyPlan, SeenConsumption
from shared.events.metering import IngestKeyChanged, IngestKeyState
from shared.events.refusals import Refusal
from shared.runtime.signing import parse_keys, unseal
from tests.conftest import MakeDatabase
from tests.support.builders.people import person_id
from tests.support.builders.published import (
    CALENDAR,
    NOW,
    PRIMARY,
    VENDOR,
    WINDOW,
    alert,
    event,
    person,
    plan,
    snapshot,
    subscription,
)
from tests.support.drivers.processes import COMMAND_KEYS
from tests.support.drivers.reporting import ReportingDriver, reporting
from tests.support.servers.token_issuer import Issuer

ALLOCATION = {"product": "scan", "units": 500}


async def test_write_answers_when_its_effect_is_visible(driver: ReportingDriver) -> None:
    asking = asyncio.create_task(driver.ask("POST", "/v1/subscriptions/sub-1/allocations", PRIMARY, json=ALLOCATION))
    (sent,) = await driver.sent()
    state = subscription(version=2, allocated={"scan": 500})
    await driver.decide(sent.command, plan(state, 400, 500), resource="sub-1", version=2)
    answer = await asking
    assert answer.status_code == 200
    body = answer.json()
    assert (body["allocated"], body["version"], body["command_id"]) == (500, 2, sent.command.id)
    assert answer.headers["idempotency-key"] == sent.command.id
    assert answer.headers["etag"] == '"2"'
    assert body == {**await driver.get("/v1/subscriptions/sub-1", PRIMARY), "command_id": sent.command.id}


async def test_write_answers_only_when_the_person_is_shown_whose_topic_is_read_later(driver: ReportingDriver) -> None:
    email = "new@acme.example"
    body = {"email": email, "name": "New"}
    asking = asyncio.create_task(driver.ask("POST", "/v1/accounts/acme/people", PRIMARY, json=body))
    (sent,) = await driver.sent()
    await driver.apply(person(email, "Before", removed_at=NOW, enabled=False))
    await driver.decide(sent.command, resource=person_id(email), version=2)
    await asyncio.sleep(0.3)
    assert not asking.done()
    await driver.apply(event(person(email, "New", version=2), causation=sent.command.id))
    answer = await asyncio.wait_for(asking, 0.9)
    assert (answer.status_code, answer.json()["name"], answer.json()["id"]) == (200, "New", person_id(email))


async def test_write_answers_202_when_the_person_is_not_shown_in_time(driver: ReportingDriver) -> None:
    path, key = f"/v1/accounts/acme/people/{PRIMARY}", {"Idempotency-Key": str(uuid4())}
    asking = asyncio.create_task(driver.ask("PATCH", path, PRIMARY, json={"name": "Later"}, headers=key))
    (sent,) = await driver.sent()
    await driver.decide(sent.command, resource=person_id(PRIMARY), version=2)
    assert (await asking).status_code == 202
    await driver.apply(person(PRIMARY, "Later", version=2))
    again = await driver.ask("PATCH", path, PRIMARY, json={"name": "Later"}, headers=key)
    assert (again.status_code, again.json()["name"]) == (200, "Later")


async def test_command_contains_its_actor_and_the_seen_consumption(driver: ReportingDriver) -> None:
    await driver.measure(
        snapshot(300, revision=7), snapshot(200, revision=4, windows_ago=1), snapshot(1, windows_ago=3)
    )
    headers = {"If-Match": '"1"', "X-Correlation-Id": "corr-1"}
    body = {"changes": [ALLOCATION], "accept_overage": True}
    asking = asyncio.create_task(
        driver.ask("POST", "/v1/subscriptions/sub-1/rebalances", PRIMARY, json=body, headers=headers)
    )
    (sent,) = await driver.sent()
    asking.cancel()
    assert sent.outgoing.topic == "allocation.commands"
    assert sent.outgoing.key == b"sub-1"
    command = sent.command
    assert (command.actor, command.actorvendor, command.actoraddress) == (person_id(PRIMARY), False, "127.0.0.1")
    assert command.correlationid == "corr-1"
    payload: ApplyPlan = command.data
    assert (payload.expected_version, payload.accept_overage, payload.preview) == (1, True, False)
    assert {(seen.window_start, seen.revision) for seen in payload.seen} == {
        (WINDOW.start, 7),
        (CALENDAR.before(WINDOW).start, 4),
    }
    assert all(isinstance(seen, SeenConsumption) for seen in payload.seen)


async def test_refusal_is_a_problem_with_its_numbers_also_when_repeated(driver: ReportingDriver) -> None:
    key = {"Idempotency-Key": str(uuid4())}
    path = "/v1/subscriptions/sub-1/allocations"
    asking = asyncio.create_task(driver.ask("POST", path, PRIMARY, json=ALLOCATION, headers=key))
    (sent,) = await driver.sent()
    refusal = Refusal(code="insufficient_units", message="Only 100 are free.", details={"available": 100})
    await driver.decide(sent.command, refusal=refusal)
    first = await asking
    again = await driver.ask("POST", path, PRIMARY, json=ALLOCATION, headers=key)
    assert first.status_code == again.status_code == 409
    assert first.headers["content-type"] == "application/problem+json"
    assert first.json() == again.json()
    assert (first.json()["code"], first.json()["available"]) == ("insufficient_units", 100)
    assert first.json()["detail"] == "Only 100 are free."
    assert len(await driver.sent()) == 1


async def test_write_is_refused_when_its_key_was_used_for_another_request(driver: ReportingDriver) -> None:
    key = {"Idempotency-Key": str(uuid4())}
    path = "/v1/subscriptions/sub-1/allocations"
    asking = asyncio.create_task(driver.ask("POST", path, PRIMARY, json=ALLOCATION, headers=key))
    await driver.sent()
    other = await driver.ask("POST", path, PRIMARY, json={**ALLOCATION, "units": 501}, headers=key)
    asking.cancel()
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_key_reused")
    assert len(await driver.sent()) == 1


async def test_command_is_new_when_another_person_uses_the_same_key(driver: ReportingDriver) -> None:
    key = {"Idempotency-Key": str(uuid4())}
    path = "/v1/subscriptions/sub-1/allocations"
    both = (PRIMARY, VENDOR)
    asking = [asyncio.create_task(driver.ask("POST", path, who, json=ALLOCATION, headers=key)) for who in both]
    assert {sent.command.actor for sent in await driver.sent(2)} == {person_id(PRIMARY), person_id(VENDOR)}
    for task in asking:
        task.cancel()


async def test_repeat_is_the_same_request_when_consumption_has_changed(driver: ReportingDriver) -> None:
    key = {"Idempotency-Key": str(uuid4())}
    path = "/v1/subscriptions/sub-1/allocations"
    asking = asyncio.create_task(driver.ask("POST", path, PRIMARY, json=ALLOCATION, headers=key))
    (sent,) = await driver.sent()
    await driver.measure(snapshot(300, revision=9))
    again = asyncio.create_task(driver.ask("POST", path, PRIMARY, json=ALLOCATION, headers=key))
    await driver.decide(sent.command, resource="sub-1", version=1)
    assert {(await task).status_code for task in (asking, again)} == {200}


async def test_write_answers_202_and_its_command_can_be_polled_when_no_outcome_arrives(
    database: MakeDatabase, shared_issuer: Issuer
) -> None:
    async with reporting(await database("reporting"), shared_issuer, command_wait_seconds=0.05) as driver:
        answer = await driver.ask("POST", "/v1/accounts", json={"name": "Ümläut & Söhne"})
        assert answer.status_code == 202
        assert answer.json() == {"command_id": answer.headers["idempotency-key"], "status": "pending"}
        location = answer.headers["location"]
        assert (await driver.get(location))["status"] == "pending"
        (sent,) = await driver.sent()
        assert sent.command.data.account == "umlaut-sohne"
        await driver.decide(sent.command, resource="umlaut-sohne", version=1)
        assert (await driver.get(location))["status"] == "accepted"
        assert (await driver.ask("GET", location, PRIMARY)).status_code == 404


async def test_waiting_write_is_woken_when_another_replica_applies_the_outcome(
    database: MakeDatabase, shared_issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "POLL_SECONDS", 60)
    dsn = await database("reporting")
    async with reporting(dsn, shared_issuer) as one, reporting(dsn, shared_issuer) as other:
        asking = asyncio.create_task(one.ask("POST", "/v1/accounts", json={"name": "Acme"}))
        (sent,) = await other.sent()
        await other.decide(sent.command, refusal=Refusal(code="forbidden", message="No."))
        assert (await asking).status_code == 403, "it was not woken"


async def test_preview_answers_with_the_result_of_the_owner(driver: ReportingDriver) -> None:
    body = {"changes": [ALLOCATION], "preview": True}
    asking = asyncio.create_task(driver.ask("POST", "/v1/subscriptions/sub-1/rebalances", PRIMARY, json=body))
    (sent,) = await driver.sent()
    assert sent.command.data.preview is True
    result: dict[str, Any] = {"before": [], "after": [], "unallocated_after": 500, "starts_clock": False}
    await driver.decide(sent.command, result={**result, "next_allowed_at": None})
    shown = (await asking).json()
    assert shown == {
        "preview": True,
        "allowed": True,
        **result,
        "next_allowed_at": None,
        "command_id": sent.command.id,
    }


async def test_ingest_key_is_shown_once_and_only_its_hash_is_sent(driver: ReportingDriver) -> None:
    key = {"Idempotency-Key": str(uuid4())}
    asking = asyncio.create_task(driver.ask("POST", "/v1/ingest-keys", json={"product": "scan"}, headers=key))
    (sent,) = await driver.sent()
    payload: CreateIngestKey = sent.command.data
    assert (sent.outgoing.topic, sent.outgoing.key) == ("metering.commands", b"scan")
    state = IngestKeyState(id=payload.key, product=payload.product, created_at=NOW, created_by=VENDOR, version=1)
    await driver.decide(sent.command, IngestKeyChanged(ingest_key=state), resource=payload.key, version=1)
    made = (await asking).json()
    assert hashlib.sha256(made["key"].encode()).hexdigest() == payload.secret_sha256
    assert made["key"] not in (sent.outgoing.value or b"").decode()
    again = await driver.ask("POST", "/v1/ingest-keys", json={"product": "scan"}, headers=key)
    assert again.json() == made
    assert "key" not in await driver.get(f"/v1/ingest-keys/{payload.key}")
    assert (await driver.ask("GET", "/v1/ingest-keys", PRIMARY)).status_code == 403


async def test_webhook_secret_is_shown_once_and_sealed_in_the_command(driver: ReportingDriver) -> None:
    body = {"url": "https://hooks.acme.example/unitpool"}
    asking = asyncio.create_task(driver.ask("POST", "/v1/subscriptions/sub-1/alert-channels", PRIMARY, json=body))
    (sent,) = await driver.sent()
    payload: AddChannel = sent.command.data
    state = ChannelState(
        id=payload.channel,
        subscription=payload.subscription,
        kind="webhook",
        url=payload.url,
        created_by=PRIMARY,
        created_at=NOW,
        version=1,
    )
    await driver.decide(sent.command, ChannelChanged(channel=state), resource=payload.channel, version=1)
    made = (await asking).json()
    assert made["secret"].startswith("whsec_")
    assert unseal(payload.sealed_secret, parse_keys(COMMAND_KEYS)) == made["secret"]
    assert made["secret"] not in (sent.outgoing.value or b"").decode()


async def test_alert_is_acknowledged_when_its_owner_accepts(driver: ReportingDriver) -> None:
    await driver.apply(alert())
    asking = asyncio.create_task(driver.ask("POST", "/v1/subscriptions/sub-1/alerts/alert-1/acknowledge", PRIMARY))
    (sent,) = await driver.sent()
    assert sent.outgoing.topic == "alerts.commands"
    state = alert(version=2, state="acknowledged", acknowledged_by=PRIMARY, acknowledged_at=NOW).alert
    await driver.decide(sent.command, AlertAcknowledged(alert=state), resource="alert-1", version=2)
    assert (await asking).json()["acknowledged_by"] == PRIMARY


@pytest.mark.parametrize("count", [20])
async def test_command_is_sent_once_when_many_repeats_arrive_at_once(driver: ReportingDriver, count: int) -> None:
    key = {"Idempotency-Key": str(uuid4())}
    path = "/v1/subscriptions/sub-1/purchases"
    body = {"units": 5, "order_reference": "PO-9"}
    asking = [asyncio.create_task(driver.ask("POST", path, json=body, headers=key)) for _ in range(count)]
    (sent,) = await driver.sent()
    await driver.decide(sent.command, resource="sub-1", version=1)
    assert {(await task).status_code for task in asking} == {200}
    assert len(await driver.sent()) == 1
