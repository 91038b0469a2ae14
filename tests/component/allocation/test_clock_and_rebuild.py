"""Decisions use the database's time, and no read model that is being rebuilt."""

import asyncio
import os
import sys
from datetime import timedelta
from uuid import uuid4

import httpx

from deploy.local.kafka import KafkaServer
from shared.events.allocation import LifecycleChanged, LotStarted, PlanApplied
from shared.events.commands.subscriptions import PurchaseLot
from shared.events.envelope import Event
from shared.events.metering import ConsumptionSnapshot
from shared.events.topics import CONSUMPTION_TOPIC
from shared.runtime.process.clock import utc_now
from tests.component.allocation.test_service import SUBSCRIPTION, Service, plan, service
from tests.conftest import StartService
from tests.support.drivers.allocation import PRIMARY, snapshot
from tests.support.drivers.allocation_ahead import AHEAD
from tests.support.drivers.processes import ROOT, service_env
from tests.support.drivers.runtime import until
from tests.support.servers.databases import as_owner, connect

__all__ = ["service"]

_HOLD = """
CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.product = 'hub' THEN PERFORM pg_advisory_xact_lock(42); END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER hold BEFORE INSERT ON consumption FOR EACH ROW EXECUTE FUNCTION hold();
"""
_OVERDUE = "SELECT due_at < now() - interval '1.5 seconds' FROM due_work WHERE subscription = $1"
_DUE = "SELECT due_at <= now() FROM due_work WHERE subscription = $1"


def environment(service: Service, kafka: KafkaServer, **own: str) -> dict[str, str]:
    """The environment of another process of the same service."""
    servers = kafka.bootstrap_servers
    return service_env("allocation", dsn=service.dsn, kafka=servers, topic_prefix=service.prefix, **own)


async def consumed(service: Service, product: str, level: int) -> None:
    """Publish a snapshot of the first window, on the first partition."""
    plans = [event.data for event in service.events if isinstance(event.data, PlanApplied)]
    start = plans[-1].subscription.term.start
    sent = snapshot(product, level, at=utc_now(), revision=7).model_copy(
        update={"subscription": SUBSCRIPTION, "window_start": start, "window_end": start + timedelta(days=15)}
    )
    event = Event[ConsumptionSnapshot].of(sent, id=str(uuid4()), source="/metering", time=utc_now())
    topic = f"{service.prefix}{CONSUMPTION_TOPIC.name}"
    await service.producer.send_and_wait(topic, event.encode(), sent.key.encode(), partition=0)


def changes(service: Service) -> list[tuple[str, str]]:
    """The published changes of state."""
    events = (one.data for one in service.events if isinstance(one.data, LifecycleChanged))
    return [(one.before, one.after) for one in events]


async def test_nothing_is_published_from_a_partial_read_model_when_it_is_rebuilt_beside_the_service(
    service: Service, service_process: StartService, kafka_server: KafkaServer
) -> None:
    await service.open(utc_now() - timedelta(days=1), units=100)
    assert (await service.ask(plan(scan=50, hub=50), PRIMARY)).accepted
    for product in ("scan", "hub"):
        await consumed(service, product, 60)
    await service.first(LifecycleChanged)
    assert changes(service) == [("active", "exhausted")]
    async with connect(as_owner(service.dsn)) as owner:
        await owner.execute(_HOLD)
    service.process.kill()
    env = environment(service, kafka_server, consumption_batch_records="1")
    await service_process("allocation", env).wait_ready()
    async with connect(service.dsn) as holds:
        await holds.execute("SELECT pg_advisory_lock(42)")
        rebuild = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "services.allocation", "rebuild"),
            cwd=ROOT,
            env={**os.environ, **env},
            stdout=asyncio.subprocess.DEVNULL,
        )
        async with connect(service.dsn) as sees:
            await until(
                lambda: sees.fetchval(_OVERDUE, SUBSCRIPTION), what="due work while half of the read model is rebuilt"
            )
            await service.read()
            assert changes(service) == [("active", "exhausted")]
            await holds.execute("SELECT pg_advisory_unlock(42)")
            assert await asyncio.wait_for(rebuild.wait(), 60) == 0
            await until(lambda: is_not_due(sees), what="the due work after the rebuild")
    await service.read()
    assert changes(service) == [("active", "exhausted")]


async def is_not_due(sees: object) -> bool:
    """Whether the due work is done."""
    return not await sees.fetchval(_DUE, SUBSCRIPTION)  # type: ignore[attr-defined]


async def test_the_databases_time_decides_when_the_clock_of_a_process_is_wrong(
    service: Service, service_process: StartService, kafka_server: KafkaServer
) -> None:
    await service.open(utc_now() - timedelta(days=1), units=100)
    start = utc_now() + timedelta(days=10)
    later = PurchaseLot(subscription=SUBSCRIPTION, lot="later", units=50, order_reference="PO-2", start=start)
    assert (await service.ask(later)).accepted
    service.process.kill()
    env = environment(service, kafka_server)
    ahead = service_process("allocation", env, module="tests.support.drivers.allocation_ahead")
    async with httpx.AsyncClient() as client:

        async def reports() -> dict[str, object]:
            try:
                checks: dict[str, dict[str, object]] = (await client.get(f"{ahead.url}/readyz")).json()["checks"]
            except httpx.TransportError:
                return {}
            return checks["clock"] if checks["startup"]["ok"] else {}

        report = await until(reports, what="a process that has started")
        assert not report["ok"], report
        assert "ahead of the database's" in str(report["detail"])
        metrics = (await client.get(f"{ahead.url}/metrics")).text
        line = next(line for line in metrics.splitlines() if line.startswith("unitpool_clock_offset_seconds "))
        assert abs(float(line.split()[1]) - AHEAD.total_seconds()) < 5
    assert (await service.ask(plan(scan=60), PRIMARY)).accepted
    assert (await service.ask(plan(scan=150), PRIMARY)).refusal, "a lot has begun that begins in ten days"
    applied = (await service.first(PlanApplied)).time
    assert abs((applied - utc_now()).total_seconds()) < 60
    assert not any(isinstance(event.data, (LotStarted, LifecycleChanged)) for event in service.events)
