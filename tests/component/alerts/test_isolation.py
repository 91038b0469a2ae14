"""A subscription that always fails, in every consumer, task and worker."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx
import pytest

from shared.events.alerts import AlertRaised, DeliverySettled
from shared.events.commands.alerts import AddChannel
from shared.events.outcomes import AlertsCommandDecided
from shared.events.topics import ALERTS_COMMANDS_TOPIC, ALLOCATION_EVENTS_TOPIC, CONSUMPTION_TOPIC
from shared.runtime.signing import seal
from tests.support.builders.people import person_id
from tests.support.drivers.alerts import PAULA, AlertsDriver, acme
from tests.support.drivers.runtime import KEYS, event, until
from tests.support.servers.databases import as_owner, connect
from tests.support.servers.webhook_receiver import SECRET, Receiver

POISONED = "poisoned"
CONSUMERS = [ALLOCATION_EVENTS_TOPIC.name, CONSUMPTION_TOPIC.name]


@asynccontextmanager
async def poison(
    driver: AlertsDriver, table: str, condition: str, when: str = "INSERT OR UPDATE"
) -> AsyncIterator[None]:
    """Make every write of matching rows fail until the end of the block."""
    name = f"poison_{table}"
    async with connect(as_owner(driver.bench.dsn)) as connection:
        await connection.execute(
            f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN IF {condition} THEN RAISE EXCEPTION 'poison'; END IF; RETURN NEW; END $$;"
            f"CREATE TRIGGER {name} BEFORE {when} ON {table} FOR EACH ROW EXECUTE FUNCTION {name}()"
        )
        try:
            yield
        finally:
            await connection.execute(f"DROP TRIGGER {name} ON {table}; DROP FUNCTION {name}()")


async def metric(driver: AlertsDriver, line: str) -> float | None:
    """Return a value of ``/metrics``."""
    async with httpx.AsyncClient() as client:
        text = (await client.get(f"{driver.service.url}/metrics")).text
    found = [one for one in text.splitlines() if one.startswith(f"{line} ")]
    return float(found[0].rpartition(" ")[2]) if found else None


async def assert_set_aside(driver: AlertsDriver, work: str, keys: int = 1) -> None:
    """Wait for ``keys`` keys set aside; assert readiness and no halted consumer."""

    async def is_so() -> bool:
        return await metric(driver, f'unitpool_set_aside{{work="{work}"}}') == keys

    await until(is_so, within_seconds=20, what=f"{keys} set aside of {work}")
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"{driver.service.url}/readyz")
    assert answer.status_code == 200, answer.text
    detail = answer.json()["checks"]["set aside"]["detail"]
    if keys:
        assert work in detail
        assert POISONED in detail
        assert "acme-flex" not in detail
    for topic in CONSUMERS:
        assert await metric(driver, f'unitpool_consumer_halted{{topic="{topic}"}}') == 0
        assert await driver.bench.records(f"{topic}.alerts.dlq") == []


async def raised(driver: AlertsDriver, subscription: str, count: int = 1, within_seconds: float = 60) -> list[int]:
    """Wait until a subscription has ``count`` alerts; return their thresholds."""

    async def enough() -> list[int]:
        found = [
            one.alert.threshold for one in await driver.published(AlertRaised) if one.alert.subscription == subscription
        ]
        return found if len(found) >= count else []

    thresholds: list[int] = await until(enough, within_seconds=within_seconds, what=f"an alert of {subscription}")
    return thresholds


@pytest.mark.parametrize(("table", "column", "work"), [
    ("states", "subscription", ALLOCATION_EVENTS_TOPIC.name),
    ("subscriptions", "id", CONSUMPTION_TOPIC.name),
])  # fmt: skip
async def test_a_consumer_goes_on_when_everything_of_one_subscription_fails(
    driver: AlertsDriver, table: str, column: str, work: str
) -> None:
    healthy, poisoned = acme(), acme(id=POISONED)
    await driver.publish_state(healthy)
    if table == "subscriptions":
        await driver.publish_state(poisoned)
        await _is_known(driver, POISONED)
    async with poison(driver, table, f"NEW.{column} = '{POISONED}'", "INSERT OR UPDATE"):
        for version in range(2, 40):
            if table == "states":
                await driver.publish_state(acme(version, id=POISONED))
            else:
                await driver.publish_consumption(poisoned, 700 + version, first_revision=version)
        await driver.publish_consumption(healthy, 850)
        assert await raised(driver, healthy.id, within_seconds=15) == [80]
        await assert_set_aside(driver, work)
        await driver.publish_consumption(poisoned, 950, first_revision=100)
        await driver.publish_consumption(healthy, 950, first_revision=2)
        assert await raised(driver, healthy.id, 2, within_seconds=15) == [80, 90]
        assert [one for one in await driver.published(AlertRaised) if one.alert.subscription == POISONED] == []
    assert await raised(driver, POISONED) == [90]
    await assert_set_aside(driver, work, 0)
    await driver.publish_consumption(poisoned, 1000, first_revision=101)
    assert await raised(driver, POISONED, 2, within_seconds=15) == [90, 100]


async def test_a_consumer_goes_on_when_a_row_of_one_subscription_stays_locked(driver: AlertsDriver) -> None:
    healthy, poisoned = acme(), acme(id=POISONED)
    await driver.publish_state(healthy)
    await driver.publish_state(poisoned)
    await _is_known(driver, POISONED)
    async with connect(as_owner(driver.bench.dsn)) as connection, connection.transaction():
        await connection.execute("SELECT FROM subscriptions WHERE id = $1 FOR UPDATE", POISONED)
        await driver.publish_consumption(poisoned, 850)
        await driver.publish_consumption(healthy, 850)
        assert await raised(driver, healthy.id, within_seconds=20) == [80]
        await assert_set_aside(driver, CONSUMPTION_TOPIC.name)
    assert await raised(driver, POISONED) == [80]


async def test_time_goes_on_when_the_assessment_of_one_subscription_fails(driver: AlertsDriver) -> None:
    for id_ in ("a-first", POISONED, "z-last"):
        await driver.publish_state(acme(id=id_))
        await _is_known(driver, id_)
    async with connect(as_owner(driver.bench.dsn)) as connection:

        async def waiting() -> list[str]:
            rows = await connection.fetch("SELECT id FROM subscriptions WHERE next_check_at <= now() ORDER BY id")
            return [row["id"] for row in rows]

        await connection.execute("UPDATE subscriptions SET next_check_at = now()")
        async with poison(driver, "subscriptions", f"NEW.id = '{POISONED}'", "UPDATE"):

            async def only_poisoned() -> bool:
                return await waiting() == [POISONED]

            await until(only_poisoned, within_seconds=20, what="the others being assessed")
            await assert_set_aside(driver, "time")

        async def none_is_due() -> bool:
            return await waiting() == []

        await until(none_is_due, what="the poisoned subscription being assessed")
    await assert_set_aside(driver, "time", 0)


@pytest.mark.parametrize(
    "condition",
    ["NEW.lease IS NOT NULL", "NEW.state = 'delivered'"],
    ids=["it cannot be claimed", "its outcome cannot be written"],
)
async def test_the_worker_goes_on_when_one_delivery_always_fails(
    driver: AlertsDriver, receiver: Receiver, condition: str
) -> None:
    healthy, poisoned = acme(), acme(id=POISONED)
    for state in (poisoned, healthy):
        await driver.publish_state(state)
        await driver.send_command(_channel(state.id, receiver.url))
    mine = f"NEW.channel IN (SELECT id FROM channels WHERE subscription = '{POISONED}')"  # noqa: S608
    async with poison(driver, "deliveries", f"{condition} AND {mine}", "UPDATE"):
        for revision, state in enumerate((poisoned, healthy, poisoned, healthy), start=1):
            await driver.publish_consumption(
                state, 750 + revision * 50 if revision > 2 else 850, first_revision=revision
            )
        await _settled_of(driver, healthy.id, 2)
        await assert_set_aside(driver, "deliveries")
    await _settled_of(driver, POISONED, 2)
    await assert_set_aside(driver, "deliveries", 0)
    assert set(receiver.accepted) == {one.delivery for one in await driver.published(DeliverySettled)}


async def test_the_worker_goes_on_when_a_stored_alert_cannot_be_read(driver: AlertsDriver, receiver: Receiver) -> None:
    healthy, poisoned = acme(), acme(id=POISONED)
    for state in (poisoned, healthy):
        await driver.publish_state(state)
        await driver.send_command(_channel(state.id, receiver.url))
    receiver.replies.extend([500])
    await driver.publish_consumption(poisoned, 850)
    await until(lambda: receiver.received, what="an attempt")
    async with connect(as_owner(driver.bench.dsn)) as connection:
        body = await connection.fetchval("SELECT body FROM alerts")
        await connection.execute("UPDATE alerts SET body = '{\"rule\": 7}'")
        await connection.execute("UPDATE deliveries SET state = 'pending', due_at = now(), lease = NULL")
        await driver.publish_consumption(healthy, 850)
        await _settled_of(driver, healthy.id, 1)
        await assert_set_aside(driver, "deliveries")
        await connection.execute("UPDATE alerts SET body = $1 WHERE subscription = $2", body, POISONED)
    await _settled_of(driver, POISONED, 1)


async def test_commands_go_on_when_those_of_one_subscription_always_fail(
    driver: AlertsDriver, receiver: Receiver
) -> None:
    healthy, poisoned = acme(), acme(id=POISONED)
    await driver.publish_state(healthy)
    await driver.publish_state(poisoned)
    command = event(_channel(POISONED, receiver.url), id=str(uuid4()), actor=person_id(PAULA))
    async with poison(driver, "channels", f"NEW.subscription = '{POISONED}'"):
        await driver.bench.send_command(ALERTS_COMMANDS_TOPIC, command, key=POISONED)
        began = datetime.now(UTC)
        assert (await driver.send_command(_channel(healthy.id, receiver.url))).accepted
        assert (datetime.now(UTC) - began).total_seconds() < 5
        failures = await metric(driver, 'unitpool_set_aside_failures_total{work="alerts.commands"}')
        assert failures is not None
        assert failures > 0

    async def decided() -> list[AlertsCommandDecided]:
        return [one for one in await driver.published(AlertsCommandDecided) if str(one.command_id) == command.id]

    (outcome,) = await until(decided, what="the outcome")
    assert outcome.accepted
    assert await driver.bench.records(f"{ALERTS_COMMANDS_TOPIC.name}.alerts.dlq") == []


def _channel(subscription: str, url: str) -> AddChannel:
    return AddChannel.model_validate(
        {
            "subscription": subscription,
            "channel": str(uuid4()),
            "kind": "webhook",
            "url": url,
            "sealed_secret": seal(SECRET, KEYS),
            "seen": 1,
        }
    )


async def _is_known(driver: AlertsDriver, subscription: str) -> None:
    async with connect(driver.bench.dsn) as connection:

        async def is_so() -> Any:
            return await connection.fetchval("SELECT true FROM states WHERE subscription = $1", subscription)

        await until(is_so, what=f"{subscription} being known")


async def _settled_of(driver: AlertsDriver, subscription: str, count: int) -> None:
    async def enough() -> bool:
        found = [one.outcome for one in await driver.published(DeliverySettled) if one.subscription == subscription]
        return found == ["delivered"] * count

    await until(enough, what=f"{count} deliveries of {subscription}")
