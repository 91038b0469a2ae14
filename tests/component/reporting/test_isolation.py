"""A subscription, product or account that always fails costs only itself.

It is set aside in every consumer, task and stream of reporting, and handled automatically after the repair.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx
import pytest
from aiokafka import AIOKafkaProducer

from services.reporting.background import PARTS, Upkeep
from services.reporting.sessions import Person, Sessions
from shared.events.envelope import Payload
from shared.events.outcomes import AuditRecord, DecisionRecorded
from shared.events.quarantine import QuarantinedRecord, UsageQuarantined
from shared.events.topics import (
    ALERTS_EVENTS_TOPIC,
    ALLOCATION_EVENTS_TOPIC,
    ALLOCATION_PEOPLE_TOPIC,
    AUDIT,
    CONSUMPTION_TOPIC,
    METERING_EVENTS_TOPIC,
    Topic,
)
from shared.runtime.delivery.set_aside_work import SetAside
from tests.conftest import MakeDatabase, StartService
from tests.support.builders.people import person_id
from tests.support.builders.published import (
    NOW,
    PRIMARY,
    START,
    account,
    alert,
    created,
    person,
    product,
    snapshot,
)
from tests.support.builders.published import subscription as state_of
from tests.support.drivers.processes import ServiceProcess, service_env
from tests.support.drivers.reporting import ReportingDriver
from tests.support.drivers.reporting_processes import ReportingProcesses
from tests.support.drivers.runtime import Bench, event, until
from tests.support.servers.databases import as_owner, connect
from tests.support.servers.token_issuer import Issuer

POISONED, HEALTHY = "poisoned", "healthy"
REPEATS = 30
MOST_LOG_LINES = 40
"""Most log lines about 64 failing keys in six consumers: repeats are summarised."""


@dataclass(frozen=True)
class Work:
    """A consumer, with events of one owner and the table that shows their effect."""

    topic: Topic
    table: str
    column: str
    payload: Callable[[str, int], Payload]
    key: Callable[[str, int], str]


def quarantined(product_id: str, number: int) -> UsageQuarantined:
    """Build a quarantined record of a product."""
    times = {"received_at": NOW, "quarantined_at": NOW}
    identity = str(number + 1000 * len(product_id))
    place = {"topic": "usage.events", "partition": 0, "offset": number, "id": identity}
    values = {
        **times,
        **place,
        "reason": "malformed",
        "detail": "",
        "source": "/x",
        "product": product_id,
        "version": 1,
    }
    return UsageQuarantined(record=QuarantinedRecord.model_validate(values))


def audited(of: str, _: int) -> DecisionRecorded:
    """Build a decision about an account."""
    values = {"at": NOW, "actor": PRIMARY, "action": "set-flex", "object": "x", "account": of, "outcome": "allowed"}
    return DecisionRecorded(record=AuditRecord.model_validate(values))


def measured(of: str, number: int) -> Payload:
    """Build a snapshot, each of another product: one subscription may have many keys."""
    return snapshot(number, sub=of, product=f"product-{number}")


WORKS = [
    Work(ALLOCATION_EVENTS_TOPIC, "subscriptions", "id", lambda of, n: created(state_of(of, n)), lambda of, _: of),
    Work(CONSUMPTION_TOPIC, "consumption", "subscription", measured, lambda of, n: f"{of}|product-{n}|2026-02-15"),
    Work(
        ALERTS_EVENTS_TOPIC,
        "alerts",
        "subscription",
        lambda of, n: alert(f"{of}-{n}", subscription=of),
        lambda of, _: of,
    ),
    Work(
        ALLOCATION_PEOPLE_TOPIC,
        "people",
        "account",
        lambda of, n: person(f"{n}@{of}.example", account=of),
        lambda of, n: person_id(f"{n}@{of}.example"),
    ),
    Work(METERING_EVENTS_TOPIC, "quarantine", "product", quarantined, lambda of, _: of),
    Work(AUDIT, "audit_log", "account", audited, lambda of, _: of),
]


@asynccontextmanager
async def poison(dsn: str, table: str, condition: str, when: str = "INSERT OR UPDATE") -> AsyncIterator[None]:
    """Make every write of matching rows fail until the end of the block."""
    name = f"poison_{table}"
    async with connect(as_owner(dsn)) as connection:
        await connection.execute(
            f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN IF {condition} THEN RAISE EXCEPTION 'poison'; END IF; RETURN COALESCE(NEW, OLD); END $$;"
            f"CREATE TRIGGER {name} BEFORE {when} ON {table} FOR EACH ROW EXECUTE FUNCTION {name}()"
        )
        try:
            yield
        finally:
            await connection.execute(f"DROP TRIGGER {name} ON {table}; DROP FUNCTION {name}()")


@dataclass
class Reporting:
    """Drives a process of reporting through its topics."""

    bench: Bench
    service: ServiceProcess
    env: dict[str, str]

    async def publish(self, work: Work, of: str, numbers: Sequence[int]) -> None:
        """Publish events of one owner."""
        for number in numbers:
            value = event(work.payload(of, number)).encode()
            await self.bench.send(work.topic, value, key=work.key(of, number).encode())

    async def rows(self, work: Work, of: str) -> int:
        """Count the rows of an owner."""
        async with connect(as_owner(self.bench.dsn)) as connection:
            sql = f"SELECT count(*) FROM {work.table} WHERE {work.column} = $1"  # noqa: S608
            return int(await connection.fetchval(sql, of))

    async def metric(self, name: str, topic: Topic) -> float:
        """Read a figure of ``/metrics``."""
        async with httpx.AsyncClient() as http:
            text = (await http.get(f"{self.service.url}/metrics")).text
        line = next(one for one in text.splitlines() if one.startswith(f'{name}{{topic="{topic.name}"}}'))
        return float(line.rpartition(" ")[2])

    async def until_applied(self, work: Work, of: str, count: int) -> None:
        """Wait until an owner has ``count`` rows."""

        async def is_so() -> bool:
            return await self.rows(work, of) == count

        await until(is_so, within_seconds=90, what=f"{count} rows of {of} in {work.table}")

    async def until_set_aside(self, work: Work, keys: int | None = None) -> None:
        """Wait until ``keys`` keys are set aside; ``None``: any number but 0."""

        async def is_so() -> bool:
            found = await self.metric("unitpool_set_aside_keys", work.topic)
            return found > 0 if keys is None else found == keys

        await until(is_so, within_seconds=20, what=f"{keys} keys set aside of {work.topic.name}")

    async def assert_healthy(self) -> None:
        """Assert readiness, without halted consumers and dead letters."""
        async with httpx.AsyncClient() as http:
            answer = await http.get(f"{self.service.url}/readyz")
        assert answer.status_code == 200, answer.text
        for work in WORKS:
            assert await self.metric("unitpool_consumer_halted", work.topic) == 0
            assert await self.bench.records(f"{work.topic.name}.reporting.dlq") == []

    def warnings(self) -> list[str]:
        """Return warnings and errors of the log."""
        assert self.service.log is not None
        lines = self.service.log.read_text().splitlines()
        return [line for line in lines if '"level": "warning"' in line or '"level": "error"' in line]


@pytest.fixture
async def service(
    database: MakeDatabase, kafka_server: Any, topic_prefix: str, service_process: StartService, shared_issuer: Issuer
) -> AsyncIterator[Reporting]:
    """Start reporting."""
    dsn, kafka = await database("reporting"), kafka_server.bootstrap_servers
    env = service_env("reporting", dsn=dsn, kafka=kafka, topic_prefix=topic_prefix, oidc_issuer=shared_issuer.url)
    producer = AIOKafkaProducer(bootstrap_servers=kafka, enable_idempotence=True)
    await producer.start()
    try:
        process = service_process("reporting", env)
        await process.wait_ready()
        yield Reporting(Bench(dsn, kafka, topic_prefix, producer), process, env)
    finally:
        await producer.stop()


async def test_consumers_continue_and_recover_when_one_key_fails(service: Reporting) -> None:
    async with AsyncExitStack() as poisons:
        for work in WORKS:
            condition = f"NEW.{work.column} = '{POISONED}'"
            await poisons.enter_async_context(poison(service.bench.dsn, work.table, condition))
        for work in WORKS:
            await service.publish(work, POISONED, range(1, REPEATS + 1))
            await service.publish(work, HEALTHY, [1])
        for work in WORKS:
            await service.until_applied(work, HEALTHY, 1)
            await service.until_set_aside(work)
            assert await service.rows(work, POISONED) == 0
        checks = (await service.service.readiness())["checks"]
        for work in WORKS:
            assert "set aside" in checks[f"consumer:{work.topic.name}"]["detail"]
        await service.assert_healthy()
        for work in WORKS:
            await service.publish(work, HEALTHY, [2])
        for work in WORKS[1:]:
            await service.until_applied(work, HEALTHY, 2)
        assert len([one for one in service.warnings() if "poison" in one]) <= MOST_LOG_LINES
    for work in WORKS:
        await service.until_applied(work, POISONED, 1 if work.table == "subscriptions" else REPEATS)
        await service.until_set_aside(work, 0)
    await service.assert_healthy()


async def test_upkeep_continues_when_one_subscription_and_one_person_fail(driver: ReportingDriver) -> None:
    runtime, dsn = driver.runtime, driver.runtime.settings.database_url.get_secret_value()
    for of in (HEALTHY, POISONED):
        await driver.measure(snapshot(1, sub=of), snapshot(2, sub=of, windows_ago=3))
    sessions = Sessions(runtime.pool)
    for email in (f"{HEALTHY}@acme.example", f"{POISONED}@acme.example"):
        await sessions.begin(Person(email, "Sam", vendor=False), START)
    now = NOW + timedelta(days=366)
    later = [now]
    upkeep = Upkeep(runtime.transaction, lambda: later[0], SetAside("upkeep"), every_seconds=3600)
    counts = {
        "consumption": "SELECT subscription AS whose, count(*) FROM consumption GROUP BY 1",
        "sessions": "SELECT split_part(email, '@', 1) AS whose, count(*) FROM sessions GROUP BY 1",
    }

    async def left() -> dict[str, dict[str, int]]:
        async with runtime.pool.acquire() as connection:
            return {name: dict(map(tuple, await connection.fetch(sql))) for name, sql in counts.items()}

    async def failing() -> list[str]:
        return [part.name for part in PARTS if await upkeep.run_part(part)]

    async with (
        poison(dsn, "consumption", f"OLD.subscription = '{POISONED}'", "DELETE"),
        poison(dsn, "sessions", f"OLD.email LIKE '{POISONED}@%'", "DELETE"),
    ):
        for _ in range(2):
            assert await failing() == ["consumption", "sessions"]
        assert await left() == {"consumption": {HEALTHY: 1, POISONED: 2}, "sessions": {POISONED: 1}}
        async with runtime.pool.acquire() as connection:
            whose = await connection.fetch("SELECT whose FROM set_aside_work ORDER BY key")
        assert [row["whose"] for row in whose] == [POISONED, "sessions"], "no person is named"
    async with runtime.pool.acquire() as connection:
        await connection.execute("UPDATE set_aside_work SET retry_at = '-infinity'")
    assert await failing() == []
    assert await left() == {"consumption": {HEALTHY: 1, POISONED: 1}, "sessions": {}}
    async with runtime.pool.acquire() as connection:
        assert await connection.fetchval("SELECT count(*) FROM set_aside_work") == 0


async def test_sign_in_succeeds_when_the_session_of_another_is_locked(driver: ReportingDriver) -> None:
    dsn = driver.runtime.settings.database_url.get_secret_value()
    sessions = Sessions(driver.runtime.pool)
    await sessions.begin(Person("old@acme.example", "Old", vendor=False), START - timedelta(days=1))
    async with connect(dsn) as connection, connection.transaction():
        await connection.execute("SELECT FROM sessions FOR UPDATE")
        begun = sessions.begin(Person("new@acme.example", "New", vendor=False), NOW)
        assert await asyncio.wait_for(begun, 2)


async def test_other_live_streams_continue_when_one_fails(service: Reporting, shared_issuer: Issuer) -> None:
    allocation = WORKS[0]
    for payload, key in ((account(), "acme"), (product(), "scan")):
        await service.bench.send(allocation.topic, event(payload).encode(), key=key.encode())
    people = next(one for one in WORKS if one.topic is ALLOCATION_PEOPLE_TOPIC)
    value = event(person(PRIMARY)).encode()
    await service.bench.send(people.topic, value, key=person_id(PRIMARY).encode())
    await service.until_applied(people, "acme", 1)
    for of in (HEALTHY, POISONED):
        await service.publish(allocation, of, [1])
        await service.until_applied(allocation, of, 1)
    processes = ReportingProcesses(shared_issuer, service.service, service.env)
    try:
        path = "/v1/subscriptions/{}/stream"
        async with (
            processes.watch(path.format(HEALTHY), PRIMARY) as healthy,
            processes.watch(path.format(POISONED), PRIMARY) as poisoned,
        ):
            for stream in (healthy, poisoned):
                assert (await asyncio.wait_for(anext(stream), 10))["what"] == "missed"
            async with connect(as_owner(service.bench.dsn)) as connection:
                await connection.execute("UPDATE subscriptions SET state = '{}' WHERE id = $1", POISONED)
                for of in (POISONED, HEALTHY):
                    await connection.execute(f"NOTIFY reporting_changes, 'subscription {of} subscription'")
                assert (await asyncio.wait_for(anext(healthy), 10))["what"] == "subscription"
                with pytest.raises((StopAsyncIteration, httpx.HTTPError)):
                    await asyncio.wait_for(anext(poisoned), 15)
                await connection.execute(f"NOTIFY reporting_changes, 'subscription {HEALTHY} alert'")
                assert (await asyncio.wait_for(anext(healthy), 10))["what"] == "alert"
        assert (await processes.ask("GET", f"/v1/subscriptions/{HEALTHY}", PRIMARY)).status_code == 200
        assert (await processes.ask("GET", f"/v1/subscriptions/{POISONED}", PRIMARY)).status_code == 500
    finally:
        await processes.close()
