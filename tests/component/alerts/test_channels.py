"""Channels of the running service: shares, secrets, and unknown subscriptions."""

import asyncio
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from shared.events.alerts import ChannelChanged, DeliverySettled
from shared.events.commands.alerts import AcknowledgeAlert, AddChannel, RemoveChannel
from shared.events.envelope import Payload
from shared.events.topics import ALERTS_COMMANDS_TOPIC, ALERTS_EVENTS_TOPIC, AUDIT
from shared.runtime.signing import seal, unseal
from tests.conftest import StartService
from tests.support.builders.alerts import ACME
from tests.support.builders.people import person_id
from tests.support.drivers.alerts import AlertsDriver, acme
from tests.support.drivers.runtime import KEYS, until
from tests.support.servers.databases import as_owner, connect
from tests.support.servers.webhook_receiver import SECRET, Receiver

PUBLIC = "https://8.8.8.8/x"


def _channel(subscription: str, url: str, seen: int | None = 1) -> AddChannel:
    return AddChannel.model_validate(
        {
            "subscription": subscription,
            "channel": str(uuid4()),
            "kind": "webhook",
            "url": "https://shown.example/****",
            "sealed_url": seal(url, KEYS),
            "sealed_secret": seal(SECRET, KEYS),
            "seen": seen,
        }
    )


async def test_other_deliveries_are_on_time_when_a_channel_hangs(
    driver: AlertsDriver, receiver: Receiver, service_process: StartService
) -> None:
    """The deliveries hang for longer than the test may take."""
    await driver.service.terminate()
    patient = {"UNITPOOL_ALERTS_WEBHOOK_TIMEOUT_SECONDS": "120", "UNITPOOL_ALERTS_DELIVERY_LEASE_SECONDS": "200"}
    driver.service = service_process("alerts", driver.env | patient)
    await driver.service.wait_ready()
    connections = 0

    async def hang(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.read()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    hanging = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    mine, others = acme(), acme(id="beta-flex", account="beta")
    await driver.publish_state(mine)
    await driver.publish_state(others)
    for _ in range(9):
        assert (await driver.send_command(_channel(mine.id, hanging))).accepted
    for healthy in (mine, others):
        assert (await driver.send_command(_channel(healthy.id, receiver.url))).accepted
    await driver.publish_consumption(mine, 850, 950, 1000, 1100, 700, 850)  # five alerts
    await until(lambda: len(receiver.accepted) == 5, within_seconds=15, what="the healthy channel's deliveries")
    await until(lambda: connections == 36, within_seconds=15, what="four deliveries of each channel that hangs")
    began = datetime.now(UTC)
    await driver.publish_consumption(others, 850)
    await until(lambda: len(receiver.accepted) == 6, within_seconds=15, what="the other customer's delivery")
    assert (datetime.now(UTC) - began).total_seconds() < 3
    assert connections == 36
    driver.service.kill()
    server.close()


@pytest.mark.parametrize(
    "command",
    [
        _channel("unknown-flex", PUBLIC, None),
        RemoveChannel.model_validate({"subscription": "unknown-flex", "channel": "c-1"}),
        AcknowledgeAlert.model_validate({"subscription": "unknown-flex", "alert": "a-1"}),
    ],
    ids=["add", "remove", "acknowledge"],
)
async def test_a_command_is_not_found_at_once_when_the_subscription_is_unknown_or_foreign(
    driver: AlertsDriver, command: Payload
) -> None:
    await driver.publish_state(acme())
    assert (await driver.add_channel(PUBLIC)).accepted
    began = datetime.now(UTC)
    unknown = await driver.send_command(command, "sam@globex.example")
    assert (datetime.now(UTC) - began).total_seconds() < 3
    foreign = await driver.send_command(command.model_copy(update={"subscription": ACME}), "sam@globex.example")
    assert unknown.refusal is not None
    assert unknown.refusal.code == "not_found"
    assert unknown.refusal == foreign.refusal
    async with connect(driver.bench.dsn) as connection:
        assert await connection.fetchval("SELECT count(*) FROM subscriptions WHERE id = 'unknown-flex'") == 0


async def test_only_the_command_is_postponed_when_its_sender_saw_a_newer_state(
    driver: AlertsDriver,
) -> None:
    await driver.publish_state(acme())
    unknown = asyncio.create_task(driver.send_command(_channel("late-flex", PUBLIC)))
    newer = asyncio.create_task(driver.send_command(_channel("old-flex", PUBLIC, 2), "nora@acme.example"))
    await driver.publish_state(acme(1, id="old-flex"))
    assert (await driver.add_channel(PUBLIC)).accepted
    assert not unknown.done()
    assert not newer.done()
    await driver.publish_state(acme(id="late-flex"))
    await driver.publish_state(acme(2, id="old-flex", primary_contact=person_id("nora@acme.example")))
    assert (await unknown).accepted
    assert (await newer).accepted


async def test_a_command_is_unavailable_when_its_state_does_not_arrive_in_time(driver: AlertsDriver) -> None:
    outcome = await driver.send_command(_channel("never-flex", PUBLIC))
    assert outcome.refusal is not None
    assert outcome.refusal.code == "unavailable"


@pytest.mark.parametrize("state", ["cancelled", "expired"])
async def test_channels_are_refused_and_removed_when_the_subscription_has_ended(
    driver: AlertsDriver, state: str
) -> None:
    await driver.publish_state(acme())
    added = await driver.add_channel(PUBLIC)
    await driver.publish_state(acme(2, state=state))
    outcome = await driver.send_command(_channel(ACME, PUBLIC, 2))
    assert outcome.refusal is not None
    assert (outcome.refusal.code, outcome.refusal.details) == ("subscription_not_active", {"state": state})
    assert (await driver.send_command(RemoveChannel(subscription=ACME, channel=str(added.resource), seen=2))).accepted


async def test_the_address_of_a_channel_is_stored_and_published_only_sealed(
    driver: AlertsDriver, receiver: Receiver
) -> None:
    url = f"{receiver.url.partition('/hook')[0]}/services/T0/B0/SECRETPATH?k=1"
    await driver.publish_state(acme())
    assert (await driver.send_command(_channel(ACME, url))).accepted
    assert (await driver.send_command(_channel(ACME, f"ftp{url}"))).refusal
    receiver.replies.extend([404, "silent", 410])
    await driver.publish_consumption(acme(), 850)

    async def settled() -> list[DeliverySettled]:
        return await driver.published(DeliverySettled)

    (one,) = await until(settled, what="the delivery's end")
    assert (one.outcome, one.last_error) == ("dead", "HTTP 410")
    texts = [
        (record.value or b"").decode()
        for topic in (ALERTS_EVENTS_TOPIC, AUDIT, ALERTS_COMMANDS_TOPIC)
        for record in await driver.bench.records(topic)
    ]
    assert len(texts) > 5
    async with connect(driver.bench.dsn) as connection:
        for table in ("channels", "deliveries"):
            texts += [str(dict(row)) for row in await connection.fetch(f"SELECT * FROM {table}")]  # noqa: S608
    assert driver.service.log is not None
    log = driver.service.log.read_text()
    assert "delivery_failed" in log
    for text in (*texts, log):
        assert "SECRETPATH" not in text
        assert "/T0/" not in text


async def test_plain_text_addresses_are_sealed_when_the_service_starts(
    driver: AlertsDriver, receiver: Receiver
) -> None:
    await driver.publish_state(acme())
    added = await driver.add_channel(receiver.url)
    await driver.service.terminate()
    async with connect(as_owner(driver.bench.dsn)) as connection:
        await connection.execute("UPDATE channels SET url = $1, sealed_url = NULL", receiver.url)
        driver.service.start()
        await driver.service.wait_ready()
        row = await connection.fetchrow("SELECT url, sealed_url FROM channels")
    assert row is not None
    assert unseal(row["sealed_url"], KEYS) == receiver.url
    assert row["url"].endswith("/****acme")

    async def changes() -> list[ChannelChanged]:
        found = await driver.published(ChannelChanged)
        return found if len(found) > 1 else []

    first, second = await until(changes, what="the channel being published again")
    assert (first.channel.version, second.channel.version) == (1, 2)
    assert (second.channel.id, second.channel.url) == (added.resource, row["url"])
    await driver.publish_consumption(acme(), 850)
    await until(lambda: receiver.accepted, what="the delivery")
