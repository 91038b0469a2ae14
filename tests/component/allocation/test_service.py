"""Allocation as a process on a real Kafka and PostgreSQL, with signed commands."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from shared.events.allocation import ALLOCATION_EVENTS, LotStarted, PlanApplied
from shared.events.commands.accounts import CreateAccount, SetFlex
from shared.events.commands.catalogue import CreateMeter, CreateProduct
from shared.events.commands.plans import ApplyPlan, PlannedChange, SeenConsumption
from shared.events.commands.subscriptions import CreateSubscription, PurchaseLot, SubscribeProduct
from shared.events.envelope import Event, Payload, by_type, decode
from shared.events.metering import ConsumptionSnapshot
from shared.events.outcomes import AllocationCommandDecided
from shared.events.state import Person
from shared.events.topics import ALLOCATION_COMMANDS_TOPIC, ALLOCATION_EVENTS_TOPIC, CONSUMPTION_TOPIC
from shared.runtime.process.clock import utc_now
from shared.runtime.signing import SIGNATURE_HEADER, sign
from tests.conftest import MakeDatabase, StartService
from tests.support.drivers.allocation import KEYS, PRIMARY, VENDOR, command, identify, snapshot
from tests.support.drivers.processes import ServiceProcess, service_env
from tests.support.servers.databases import connect

PAYLOADS = by_type(ALLOCATION_EVENTS)
SUBSCRIPTION = "acme-flex"


@dataclass
class Service:
    """A running allocation, a producer of commands, and the events published so far."""

    prefix: str
    dsn: str
    process: ServiceProcess
    producer: AIOKafkaProducer
    consumer: AIOKafkaConsumer
    events: list[Event[Any]] = field(default_factory=list)

    async def send(self, payload: Payload, key: str, actor: str, *, id: str | None = None) -> UUID:
        """Send a signed command; return its id."""
        async with connect(self.dsn) as connection:
            requested = await identify(connection, command(payload, actor, vendor=actor == VENDOR, id=id))
        value = requested.encode()
        await self.producer.send_and_wait(
            f"{self.prefix}{ALLOCATION_COMMANDS_TOPIC.name}",
            value,
            key.encode(),
            headers=[(SIGNATURE_HEADER, sign(value, KEYS, ALLOCATION_COMMANDS_TOPIC.name))],
        )
        return UUID(requested.id)

    async def outcomes(self, *ids: UUID, within_seconds: float = 30) -> list[AllocationCommandDecided]:
        """Wait until these commands are decided; return their outcomes."""
        async with asyncio.timeout(within_seconds):
            while set(ids) - {one.data.command_id for one in self.decided}:
                await self.read()
        return [next(one.data for one in self.decided if one.data.command_id == requested) for requested in ids]

    async def first(self, kind: type[Payload], within_seconds: float = 30) -> Event[Any]:
        """Wait for the first event of this kind."""
        async with asyncio.timeout(within_seconds):
            while not any(isinstance(one.data, kind) for one in self.events):
                await self.read()
        return next(one for one in self.events if isinstance(one.data, kind))

    async def read(self) -> None:
        """Read the events published since the last call."""
        for some in (await self.consumer.getmany(timeout_ms=200)).values():
            decoded = (decode(one.value, PAYLOADS) for one in some)
            self.events.extend(event for event in decoded if event)

    @property
    def decided(self) -> list[Event[Any]]:
        """The outcomes so far."""
        return [event for event in self.events if isinstance(event.data, AllocationCommandDecided)]

    async def ask(self, payload: Payload, actor: str = VENDOR, key: str = SUBSCRIPTION) -> AllocationCommandDecided:
        """Send a command and wait for its outcome."""
        return (await self.outcomes(await self.send(payload, key, actor)))[0]

    async def open(self, start: datetime, units: int = 1000) -> None:
        """Create a subscription with units and two products."""
        contact = Person(email=PRIMARY, name="Paula")
        await self.ask(CreateAccount(account="acme", name="Acme"), key="acme")
        await self.ask(SetFlex(account="acme", enabled=True, reason="asked for it"), key="acme")
        for product in ("scan", "hub"):
            await self.ask(CreateProduct(product=product, name=product.title()), key=product)
            meter = CreateMeter(product=product, meter="host", name="Host", aggregation="unique", units=1, block=1)
            await self.ask(meter, key=product)
        created = CreateSubscription(
            subscription=SUBSCRIPTION,
            account="acme",
            name="Acme Flex",
            model="flex",
            start=start,
            end=start + timedelta(days=365),
            primary_contact=contact,
        )
        outcomes = [
            await self.ask(created),
            await self.ask(PurchaseLot(subscription=SUBSCRIPTION, lot="l-1", units=units, order_reference="PO-1")),
            await self.ask(SubscribeProduct(subscription=SUBSCRIPTION, product="scan")),
            await self.ask(SubscribeProduct(subscription=SUBSCRIPTION, product="hub"), PRIMARY),
        ]
        assert all(one.accepted for one in outcomes), outcomes


@pytest.fixture
async def service(
    database: MakeDatabase, kafka_server: Any, topic_prefix: str, service_process: StartService
) -> AsyncIterator[Service]:
    """A running allocation that is ready."""
    servers, dsn = kafka_server.bootstrap_servers, await database("allocation")
    process = service_process(
        "allocation", service_env("allocation", dsn=dsn, kafka=servers, topic_prefix=topic_prefix)
    )
    producer = AIOKafkaProducer(bootstrap_servers=servers, enable_idempotence=True)
    consumer = AIOKafkaConsumer(
        f"{topic_prefix}{ALLOCATION_EVENTS_TOPIC.name}", bootstrap_servers=servers, auto_offset_reset="earliest"
    )
    await producer.start()
    await consumer.start()
    try:
        await process.wait_ready()
        yield Service(topic_prefix, dsn, process, producer, consumer)
    finally:
        await consumer.stop()
        await producer.stop()


def plan(**units: int) -> ApplyPlan:
    """A plan with these units for these products."""
    changes = tuple(PlannedChange(product=product, units=number) for product, number in units.items())
    return ApplyPlan(subscription=SUBSCRIPTION, changes=changes)


async def test_a_pool_is_sold_and_allocated(service: Service) -> None:
    await service.open(utc_now() - timedelta(days=20))
    allocated = await service.ask(plan(scan=600, hub=300), PRIMARY)
    assert allocated.accepted, allocated
    seen = utc_now() - timedelta(days=5)
    measured = snapshot("scan", 550, at=seen, revision=7)
    start = service.events[-2].data.subscription.term.start
    window = timedelta(days=15)
    measured = measured.model_copy(update={"window_start": start + window, "window_end": start + 2 * window})
    event = Event[ConsumptionSnapshot].of(measured, id=str(uuid4()), source="/metering", time=utc_now())
    lowered = plan(scan=500).model_copy(
        update={"seen": (SeenConsumption(product="scan", window_start=measured.window_start, revision=7),)}
    )
    requested = await service.send(lowered, SUBSCRIPTION, PRIMARY)
    await service.producer.send_and_wait(
        f"{service.prefix}{CONSUMPTION_TOPIC.name}", event.encode(), measured.key.encode()
    )
    (refused,) = await service.outcomes(requested)
    assert refused.refusal
    assert refused.refusal.code == "below_consumption"
    assert refused.refusal.details["consumed"] == 550
    order = [type(one.data).__name__ for one in service.events if one.subject == SUBSCRIPTION][-1]
    assert order == "PlanApplied"
    async with httpx.AsyncClient() as client:
        metrics = (await client.get(f"{service.process.url}/metrics")).text
    line = 'unitpool_commands_total{command="allocation.apply-plan",outcome="accepted"} 1.0'
    assert line in metrics
    assert 'unitpool_due_work_total{outcome="failed"} 0.0' in metrics


async def test_commands_have_one_effect_when_the_process_is_killed(service: Service) -> None:
    await service.open(utc_now() - timedelta(days=1), units=100)
    ids = [str(uuid4()) for _ in range(60)]
    for round_ in range(3):
        for n, command_id in enumerate(ids):
            product, other = ("scan", "hub") if n % 2 else ("hub", "scan")
            await service.send(plan(**{product: n + 1, other: n}), SUBSCRIPTION, PRIMARY, id=command_id)
            if n == 20 * (round_ + 1) - 1:
                service.process.kill()
                service.process.start()
    outcomes = await service.outcomes(*(UUID(one) for one in ids), within_seconds=60)
    repeats = [[one.data for one in service.decided if str(one.data.command_id) == requested] for requested in ids]
    assert all(one == same[0] for same in repeats for one in same)
    accepted = sum(one.accepted for one in outcomes)
    plans = {event.id: event.data for event in service.events if isinstance(event.data, PlanApplied)}
    assert len({one.subscription.version for one in plans.values()}) == accepted
    async with connect(service.dsn) as connection:
        assert await connection.fetchval("SELECT count(*) FROM plans") == accepted
        assert await connection.fetchval("SELECT sum(units) FROM allocations") <= 100
        newest = max(plans.values(), key=lambda one: one.subscription.version)
        rows = await connection.fetch("SELECT product, units FROM allocations")
        assert {row["product"]: row["units"] for row in rows} == {
            one.product: one.allocated for one in newest.subscription.products
        }


async def test_a_lot_begins_when_the_process_was_killed_before_its_start(service: Service) -> None:
    await service.open(utc_now() - timedelta(days=1), units=100)
    start = utc_now() + timedelta(seconds=3)
    later = PurchaseLot(subscription=SUBSCRIPTION, lot="later", units=50, order_reference="PO-2", start=start)
    bought = await service.ask(later)
    assert bought.accepted, bought
    assert (await service.ask(plan(scan=150), PRIMARY)).refusal
    service.process.kill()
    service.process.start()
    started = await service.first(LotStarted)
    assert started.time >= start
    assert (started.actor, started.data.lot, started.data.subscription.purchased(utc_now())) == (None, "later", 150)
    assert (await service.ask(plan(scan=150), PRIMARY)).accepted
    assert sum(isinstance(event.data, LotStarted) for event in service.events) == 1


async def test_other_commands_are_decided_when_one_subscription_is_locked(service: Service) -> None:
    await service.open(utc_now() - timedelta(days=1), units=100)
    other = CreateSubscription(
        subscription="other-flex",
        account="acme",
        name="Other",
        model="flex",
        start=utc_now() - timedelta(days=1),
        end=utc_now() + timedelta(days=30),
        primary_contact=Person(email=PRIMARY, name="Paula"),
    )
    async with connect(service.dsn) as held:
        async with held.transaction():
            await held.execute("SELECT FROM subscriptions WHERE id = $1 FOR UPDATE", SUBSCRIPTION)
            first = await service.send(plan(scan=60), SUBSCRIPTION, PRIMARY)
            second = await service.send(plan(scan=70), SUBSCRIPTION, PRIMARY)
            assert (await service.ask(other, key="other-flex")).accepted
            assert {one.data.command_id for one in service.decided}.isdisjoint({first, second})
        outcomes = await service.outcomes(first, second)
    assert [one.accepted for one in outcomes] == [True, True]
    applied = [event.data.changes[0].after for event in service.events if isinstance(event.data, PlanApplied)]
    assert applied == [60, 70]
