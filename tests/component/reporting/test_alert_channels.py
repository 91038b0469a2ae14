"""Alert channels: the address stays secret, the signing secret is shown once."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest

from services.reporting.store.commands import erase_secrets
from shared.events.alerts import ChannelChanged, ChannelState
from shared.events.commands.alerts import AcknowledgeAlert, AddChannel, RemoveChannel
from shared.events.metering import IngestKeyChanged, IngestKeyState
from shared.events.refusals import Refusal
from shared.runtime.signing import parse_keys, unseal
from tests.conftest import MakeDatabase
from tests.support.builders.people import person_id
from tests.support.builders.published import (
    NOW,
    PRIMARY,
    STRANGER,
    VENDOR,
    VIEWER,
    account,
    alert,
    created,
    product,
    team,
)
from tests.support.drivers.processes import COMMAND_KEYS
from tests.support.drivers.reporting import ReportingDriver, Sent, reporting
from tests.support.servers.token_issuer import Issuer

CHANNELS = "/v1/subscriptions/sub-1/alert-channels"
URL = "https://hooks.example/services/T0/B0/SECRET?k=12345"
SHOWN = "https://hooks.example/****2345"
HIDDEN = "services/T0/B0/SECRET"


@pytest.fixture
async def impatient(database: MakeDatabase, shared_issuer: Issuer) -> AsyncIterator[ReportingDriver]:
    """Start a replica that does not wait for outcomes, so every write answers 202."""
    async with reporting(await database("reporting"), shared_issuer, command_wait_seconds=0.05) as driver:
        await driver.apply(account(), product(), *team(), created())
        yield driver


def _channel(sent: Sent, **changes: Any) -> ChannelChanged:
    payload: AddChannel = sent.command.data
    state = {
        "id": payload.channel,
        "subscription": payload.subscription,
        "kind": "webhook",
        "url": payload.url,
        "created_by": PRIMARY,
        "created_at": NOW,
        "version": 1,
        **changes,
    }
    return ChannelChanged(channel=ChannelState.model_validate(state))


async def _added(driver: ReportingDriver, **arguments: Any) -> tuple[Sent, httpx.Response]:
    asking = asyncio.create_task(driver.ask("POST", CHANNELS, PRIMARY, json={"url": URL}, **arguments))
    (sent,) = await driver.sent()
    await driver.decide(sent.command, _channel(sent), resource=sent.command.data.channel, version=1)
    return sent, await asking


async def test_channel_address_is_sealed_in_the_command_and_masked_in_answers(driver: ReportingDriver) -> None:
    sent, answer = await _added(driver)
    payload: AddChannel = sent.command.data
    assert payload.sealed_url is not None
    assert unseal(payload.sealed_url, parse_keys(COMMAND_KEYS)) == URL
    assert HIDDEN not in (sent.outgoing.value or b"").decode()
    assert answer.json()["url"] == SHOWN
    for who in (PRIMARY, VENDOR, VIEWER):
        (shown,) = (await driver.get(CHANNELS, who))["items"]
        assert shown["url"] == SHOWN


async def test_channel_address_is_masked_when_an_old_event_has_all_of_it(driver: ReportingDriver) -> None:
    sent, _ = await _added(driver)
    await driver.apply(_channel(sent, url=URL, version=2))
    (shown,) = (await driver.get(CHANNELS, PRIMARY))["items"]
    assert shown["url"] == SHOWN


async def test_write_is_refused_when_its_key_was_used_for_another_address(driver: ReportingDriver) -> None:
    key = {"Idempotency-Key": str(uuid4())}
    _, answer = await _added(driver, headers=key)
    again = await driver.ask("POST", CHANNELS, PRIMARY, json={"url": URL}, headers=key)
    assert again.json() == answer.json()
    other = {"url": URL.replace("SECRET", "OTHERS")}
    assert (await driver.ask("POST", CHANNELS, PRIMARY, json=other, headers=key)).status_code == 409
    assert len(await driver.sent()) == 1


async def test_command_has_the_seen_version_only_when_its_actor_may_see_it(
    driver: ReportingDriver,
) -> None:
    await driver.apply(alert())
    paths = {
        AddChannel: ("POST", "alert-channels"),
        RemoveChannel: ("DELETE", "alert-channels/c-1"),
        AcknowledgeAlert: ("POST", "alerts/alert-1/acknowledge"),
    }
    who = [(PRIMARY, "sub-1", 1), (VENDOR, "sub-1", 1), (STRANGER, "sub-1", None), (PRIMARY, str(uuid4()), None)]
    answering = [
        asyncio.create_task(driver.ask(method, f"/v1/subscriptions/{name}/{path}", email, **body))
        for kind, (method, path) in paths.items()
        for body in [{"json": {"url": URL}} if kind is AddChannel else {}]
        for email, name, _ in who
    ]
    commands = [one.command for one in await driver.sent(len(answering))]
    seen = {(type(one.data), one.actor, one.data.subscription): one.data.seen for one in commands}
    assert seen == {(kind, person_id(email), name): version for kind in paths for email, name, version in who}
    for task in answering:
        task.cancel()


async def test_secret_is_shown_once_to_its_requester_only_after_a_202(impatient: ReportingDriver) -> None:
    answer = await impatient.ask("POST", CHANNELS, PRIMARY, json={"url": URL})
    assert answer.status_code == 202
    where = answer.headers["location"]
    (sent,) = await impatient.sent()
    pending = await impatient.get(where, PRIMARY)
    assert (pending["status"], "secret" in pending) == ("pending", False)
    await impatient.decide(sent.command, _channel(sent), resource=sent.command.data.channel, version=1)
    assert (await impatient.ask("GET", where, VENDOR)).status_code == 404
    await impatient.ask("HEAD", where, PRIMARY)
    first = await impatient.ask("GET", where, PRIMARY)
    assert first.json()["secret"] == unseal(sent.command.data.sealed_secret, parse_keys(COMMAND_KEYS))
    assert first.headers["cache-control"] == "no-store"
    assert "secret" not in await impatient.get(where, PRIMARY)
    async with impatient.runtime.pool.acquire() as connection:
        assert await connection.fetchval("SELECT count(*) FROM commands WHERE sealed_secret IS NOT NULL") == 0


async def test_secret_is_shown_once_when_many_requests_arrive_at_once(impatient: ReportingDriver) -> None:
    where = (await impatient.ask("POST", CHANNELS, PRIMARY, json={"url": URL})).headers["location"]
    (sent,) = await impatient.sent()
    await impatient.decide(sent.command, _channel(sent), resource=sent.command.data.channel, version=1)
    bodies = await asyncio.gather(*(impatient.get(where, PRIMARY) for _ in range(10)))
    assert sum("secret" in body for body in bodies) == 1


async def test_secret_is_not_shown_with_the_command_when_the_answer_showed_it(driver: ReportingDriver) -> None:
    sent, answer = await _added(driver)
    assert "secret" in answer.json()
    assert "secret" not in await driver.get(f"/v1/commands/{sent.command.id}", PRIMARY)


async def test_secret_is_not_shown_when_the_command_is_refused(impatient: ReportingDriver) -> None:
    where = (await impatient.ask("POST", CHANNELS, PRIMARY, json={"url": URL})).headers["location"]
    (sent,) = await impatient.sent()
    await impatient.decide(sent.command, refusal=Refusal(code="subscription_not_active", message="It is over."))
    body = await impatient.get(where, PRIMARY)
    assert (body["status"], "secret" in body) == ("refused", False)


async def test_secret_is_erased_when_its_retention_ends(impatient: ReportingDriver) -> None:
    where = (await impatient.ask("POST", CHANNELS, PRIMARY, json={"url": URL})).headers["location"]
    (sent,) = await impatient.sent()
    await impatient.decide(sent.command, _channel(sent), resource=sent.command.data.channel, version=1)
    async with impatient.runtime.pool.acquire() as connection:
        await erase_secrets(connection, NOW)
        assert await connection.fetchval("SELECT count(*) FROM commands WHERE sealed_secret IS NOT NULL") == 1
        await erase_secrets(connection, NOW + timedelta(microseconds=1))
    assert "secret" not in await impatient.get(where, PRIMARY)


async def test_ingest_key_is_shown_once_as_key_after_a_202(impatient: ReportingDriver) -> None:
    where = (await impatient.ask("POST", "/v1/ingest-keys", json={"product": "scan"})).headers["location"]
    (sent,) = await impatient.sent()
    payload = sent.command.data
    state = IngestKeyState(id=payload.key, product=payload.product, created_at=NOW, created_by=VENDOR, version=1)
    await impatient.decide(sent.command, IngestKeyChanged(ingest_key=state), resource=payload.key, version=1)
    assert (await impatient.get(where))["key"].startswith("upk_")
    assert "key" not in await impatient.get(where)
