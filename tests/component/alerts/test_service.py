"""The running service on a real Kafka and PostgreSQL, with a receiver of webhooks."""

import asyncio
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

import httpx

from shared.events.alerts import AlertAcknowledged, AlertRaised, AlertResolved, ChannelChanged, DeliverySettled
from shared.events.commands.alerts import AcknowledgeAlert, AddChannel, RemoveChannel
from shared.events.topics import (
    ALERTS_COMMANDS_TOPIC,
    ALERTS_EVENTS_TOPIC,
    ALLOCATION_EVENTS_TOPIC,
    AUDIT,
    CONSUMPTION_TOPIC,
)
from shared.runtime.signing import seal
from tests.support.builders.alerts import ACME
from tests.support.builders.people import person_id
from tests.support.drivers.alerts import PAULA, AlertsDriver, acme
from tests.support.drivers.runtime import KEYS, audited, until
from tests.support.servers.databases import connect
from tests.support.servers.webhook_receiver import SECRET, Receiver


async def _settled(driver: AlertsDriver, count: int) -> Sequence[DeliverySettled]:
    async def enough() -> Sequence[DeliverySettled]:
        found = await driver.published(DeliverySettled)
        return found if len(found) >= count else []

    settled: Sequence[DeliverySettled] = await until(enough, within_seconds=30, what=f"{count} settled deliveries")
    return settled


async def _caught_up(driver: AlertsDriver) -> None:
    """Wait until everything that was sent is applied."""
    topics = [topic.name for topic in (ALLOCATION_EVENTS_TOPIC, CONSUMPTION_TOPIC, ALERTS_COMMANDS_TOPIC)]
    ends = {(topic, partition): end for topic in topics for partition, end in (await driver.bench.ends(topic)).items()}
    async with connect(driver.bench.dsn) as connection:

        async def is_so() -> bool:
            rows = await connection.fetch("SELECT topic, partition, next_offset FROM consumer_offsets")
            applied = {(row["topic"], row["partition"]): row["next_offset"] for row in rows}
            return all(applied.get(place, 0) >= end for place, end in ends.items())

        await until(is_so, what="everything applied")


async def test_an_alert_arrives_signed_and_once_when_records_are_delivered_twice(
    driver: AlertsDriver, receiver: Receiver
) -> None:
    state = acme()
    await driver.publish_state(state)
    assert (await driver.add_channel(receiver.url)).accepted
    receiver.replies.extend([500, "silent", 302, 503])
    await driver.publish_consumption(state, 100, 700, 850)
    (settled,) = await _settled(driver, 1)
    assert (settled.outcome, settled.attempts, settled.last_error) == ("delivered", 5, None)
    assert len({delivery for delivery, _ in receiver.received}) == 1
    assert receiver.accepted == [settled.delivery]
    data = receiver.received[-1][1]["data"]
    assert (data["id"], data["value_at"], data["rule"]) == (settled.alert, "85.0", "product_consumption")
    await driver.publish_state(state)
    await driver.publish_consumption(state, 100, 700, 850)
    await driver.publish_consumption(state, 860, 870, first_revision=4)
    await driver.service.terminate()
    driver.service.start()
    await driver.service.wait_ready()
    await driver.publish_consumption(state, 100, 700, 850, 860, 870, 880)
    await _caught_up(driver)
    assert [one.alert.threshold for one in await driver.published(AlertRaised)] == [80]
    assert len(await driver.published(DeliverySettled)) == 1
    assert len(receiver.accepted) == 1


async def test_each_crossing_raises_an_alert_when_several_are_in_one_batch(
    driver: AlertsDriver, receiver: Receiver
) -> None:
    state = acme()
    await driver.publish_state(state)
    await driver.add_channel(receiver.url)
    await driver.publish_consumption(state, 850, 700, 950, 840, 1200)
    raised = await driver.wait_for_alerts(AlertRaised, 3)
    assert [alert.threshold for alert in raised] == [80, 90, 110]
    assert [alert.threshold for alert in await driver.wait_for_alerts(AlertResolved, 2)] == [80, 90]
    await _settled(driver, 3)
    assert Counter(receiver.accepted).most_common(1)[0][1] == 1
    assert {payload["data"]["id"] for _, payload in receiver.received} == {alert.id for alert in raised}


async def test_no_alert_is_raised_twice_when_the_service_is_killed_repeatedly(
    driver: AlertsDriver, receiver: Receiver
) -> None:
    state = acme()
    await driver.publish_state(state)
    await driver.add_channel(receiver.url)
    values = [850, 700] * 10
    for round_ in range(5):
        await driver.publish_consumption(state, *values[round_ * 4 : round_ * 4 + 4], first_revision=1 + round_ * 4)
        driver.service.kill()
        driver.service.start()
    await driver.service.wait_ready()
    raised = await driver.wait_for_alerts(AlertRaised, 10)
    settled = await _settled(driver, 10)
    await _caught_up(driver)
    assert len({alert.id for alert in raised}) == 10
    assert len(await driver.published(AlertResolved)) == 10
    assert {one.alert for one in settled} == {alert.id for alert in raised}
    assert set(receiver.accepted) == {one.delivery for one in settled}


async def test_other_records_are_applied_when_one_is_bad(driver: AlertsDriver) -> None:
    state = acme()
    await driver.publish_state(state)
    await driver.publish_consumption(state, 700)
    await driver.bench.send(CONSUMPTION_TOPIC, b"\x00 not json", key=b"x")
    await driver.bench.send(CONSUMPTION_TOPIC, None, key=b"tombstone")
    await driver.publish_consumption(state, 850, first_revision=2)
    assert [alert.threshold for alert in await driver.wait_for_alerts(AlertRaised, 1)] == [80]

    async def dead() -> list[Any]:
        return await driver.bench.records("metering.consumption.alerts.dlq")

    assert len(await until(dead, what="a dead letter")) == 1


async def test_a_command_is_refused_when_the_actor_lacks_the_grant(driver: AlertsDriver, receiver: Receiver) -> None:
    state = acme()
    await driver.publish_state(state)
    await driver.publish_consumption(state, 850)
    (alert,) = await driver.wait_for_alerts(AlertRaised, 1)
    acknowledge = AcknowledgeAlert(subscription=ACME, alert=alert.id)
    viewer = await driver.send_command(acknowledge, "victor@acme.example")
    stranger = await driver.send_command(acknowledge, "sam@globex.example")
    missing = await driver.send_command(AcknowledgeAlert(subscription=ACME, alert="none"))
    codes = [outcome.refusal.code for outcome in (viewer, stranger, missing) if outcome.refusal]
    assert codes == ["forbidden", "not_found", "not_found"]
    accepted = await driver.send_command(acknowledge, "alan@acme.example")
    assert (accepted.accepted, accepted.resource, accepted.version) == (True, alert.id, 2)
    again = await driver.send_command(acknowledge)
    assert (again.accepted, again.version) == (True, 2)
    (event,) = await driver.published(AlertAcknowledged)
    assert event.alert.acknowledged_by == person_id("alan@acme.example")
    added = await driver.add_channel(receiver.url)
    bad = await driver.add_channel("ftp://example.com")
    assert bad.refusal is not None
    assert bad.refusal.details["errors"][0]["field"] == "url"
    secret = seal("whsec_c2hvcnQ=", KEYS)
    short = await driver.send_command(
        AddChannel(subscription=ACME, channel="c-9", kind="webhook", url=receiver.url, sealed_secret=secret)
    )
    assert short.refusal is not None
    assert short.refusal.details["errors"][0]["field"] == "secret"
    remove = RemoveChannel(subscription=ACME, channel=str(added.resource))
    refused = await driver.send_command(remove, "alan@acme.example")
    assert refused.refusal is not None
    assert (await driver.send_command(remove, "vera@unitpool.example", actorvendor=True)).accepted
    gone = await driver.send_command(remove)
    assert gone.refusal is not None
    assert [one.channel.removed_at is None for one in await driver.published(ChannelChanged)] == [True, False]
    records = audited(await driver.bench.records(AUDIT))
    assert Counter(record.outcome for record in records) == {"allowed": 4, "denied": 7}
    raw = b"".join(record.value for record in await driver.bench.records(AUDIT))
    raw += b"".join(record.value for record in await driver.bench.records(ALERTS_EVENTS_TOPIC))
    assert SECRET.encode() not in raw
    assert b"sealed" not in raw


async def test_no_alert_is_delivered_when_the_channel_is_removed(driver: AlertsDriver, receiver: Receiver) -> None:
    state = acme()
    await driver.publish_state(state)
    added = await driver.add_channel(receiver.url)
    receiver.replies.extend([500] * 1000)
    await driver.publish_consumption(state, 850)
    await until(lambda: receiver.received, what="an attempt")
    await driver.send_command(RemoveChannel(subscription=ACME, channel=str(added.resource)), PAULA)
    (settled,) = await _settled(driver, 1)
    assert (settled.outcome, settled.last_error) == ("dead", "the channel was removed")


async def test_a_delivery_is_dead_and_the_answer_not_stored_when_the_receiver_is_gone(
    driver: AlertsDriver, receiver: Receiver
) -> None:
    state = acme()
    await driver.publish_state(state)
    await driver.add_channel(receiver.url)
    receiver.replies.append(410)
    await driver.publish_consumption(state, 850)
    (settled,) = await _settled(driver, 1)
    assert (settled.outcome, settled.attempts) == ("dead", 1)
    assert settled.last_error == "HTTP 410"


async def test_no_alert_is_raised_again_when_the_read_model_is_rebuilt(
    driver: AlertsDriver, receiver: Receiver
) -> None:
    await driver.publish_state(acme(1))
    await driver.publish_state(acme(2, scan=500))
    state = acme(3, scan=1000)
    await driver.publish_state(state)
    await driver.add_channel(receiver.url)
    await driver.publish_consumption(state, 700, 850)
    await _settled(driver, 1)
    rebuild = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.alerts", "rebuild", env={**os.environ, **driver.env}, stdout=subprocess.DEVNULL
    )
    assert await asyncio.wait_for(rebuild.wait(), 60) == 0
    await driver.publish_consumption(state, 860, first_revision=3)
    await _caught_up(driver)
    async with connect(driver.bench.dsn) as connection:
        assert await connection.fetchval("SELECT count(*) FROM products") == 1
        stored = await connection.fetchval("SELECT readings FROM subscriptions")
        assert [revision for _, _, revision, *_ in json.loads(stored)] == [3]
    assert len(await driver.published(AlertRaised)) == 1
    assert await driver.published(AlertResolved) == []


async def test_metrics_count_alerts_and_deliveries(driver: AlertsDriver, receiver: Receiver) -> None:
    state = acme()
    await driver.publish_state(state)
    await driver.add_channel(receiver.url)
    await driver.publish_consumption(state, 850)
    await _settled(driver, 1)
    metrics = (await httpx.AsyncClient().get(f"{driver.service.url}/metrics")).text
    assert 'unitpool_alerts_total{rule="product_consumption",severity="warning"} 1.0' in metrics
    assert 'unitpool_deliveries_total{channel="webhook",outcome="delivered"} 1.0' in metrics
    assert "unitpool_delivery_seconds_count 1.0" in metrics
    assert 'unitpool_alerts_total{rule="pool_over_allocated",severity="critical"} 0.0' in metrics
    assert 'unitpool_deliveries_total{channel="webhook",outcome="dead"} 0.0' in metrics
    assert 'unitpool_http_requests_total{route="/version",status="500"} 0.0' in metrics
    assert ACME not in metrics
