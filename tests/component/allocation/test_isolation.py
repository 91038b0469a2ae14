"""A subscription whose rows cannot be written: others go on, and it is retried."""

from datetime import timedelta
from uuid import uuid4

import httpx

from shared.events.allocation import LotStarted, PlanApplied
from shared.events.commands.plans import ApplyPlan, PlannedChange
from shared.events.commands.subscriptions import CreateSubscription, PurchaseLot, SubscribeProduct
from shared.events.envelope import Event
from shared.events.metering import ConsumptionSnapshot
from shared.events.state import Person
from shared.events.topics import CONSUMPTION_TOPIC
from shared.runtime.process.clock import utc_now
from tests.component.allocation.test_service import SUBSCRIPTION, Service, plan, service
from tests.support.drivers.allocation import PRIMARY, snapshot
from tests.support.drivers.runtime import until
from tests.support.servers.databases import as_owner, connect

__all__ = ["service"]

OTHER = "other-flex"
_POISON = f"""
CREATE FUNCTION poison() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF to_jsonb(NEW) ->> 'subscription' = '{SUBSCRIPTION}' OR to_jsonb(NEW) ->> 'id' = '{SUBSCRIPTION}' THEN
        RAISE EXCEPTION 'poisoned';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER poison BEFORE INSERT OR UPDATE ON subscriptions FOR EACH ROW EXECUTE FUNCTION poison();
CREATE TRIGGER poison BEFORE INSERT OR UPDATE ON consumption FOR EACH ROW EXECUTE FUNCTION poison();
CREATE TRIGGER poison BEFORE INSERT OR UPDATE ON due_work FOR EACH ROW EXECUTE FUNCTION poison();
CREATE TRIGGER poison BEFORE INSERT OR UPDATE ON allocations FOR EACH ROW EXECUTE FUNCTION poison();
"""
_REPAIR = "DROP FUNCTION poison() CASCADE"
_MEASURED = "SELECT count(*) FROM consumption WHERE subscription = $1"


async def other(service: Service) -> None:
    """Create a second subscription of the same account, with the same products."""
    created = CreateSubscription(
        subscription=OTHER,
        account="acme",
        name="Other",
        model="flex",
        start=utc_now() - timedelta(days=1),
        end=utc_now() + timedelta(days=300),
        primary_contact=Person(email=PRIMARY, name="Paula"),
    )
    bought = PurchaseLot(subscription=OTHER, lot="l-1", units=1000, order_reference="PO-1")
    for requested in (created, bought, *(SubscribeProduct(subscription=OTHER, product=one) for one in ("scan", "hub"))):
        assert (await service.ask(requested, key=OTHER)).accepted


async def measure(service: Service, subscription: str, n: int) -> None:
    """Publish a snapshot of the window that is ``n`` windows old."""
    sent = snapshot("scan", 5, at=utc_now() - timedelta(days=15 * n), revision=n + 1, subscription=subscription)
    event = Event[ConsumptionSnapshot].of(sent, id=str(uuid4()), source="/metering", time=utc_now())
    topic = f"{service.prefix}{CONSUMPTION_TOPIC.name}"
    await service.producer.send_and_wait(topic, event.encode(), sent.key.encode())


def plan_for(subscription: str, **units: int) -> ApplyPlan:
    changes = tuple(PlannedChange(product=product, units=number) for product, number in units.items())
    return ApplyPlan(subscription=subscription, changes=changes)


async def started(service: Service, subscription: str) -> bool:
    await service.read()
    return any(isinstance(one.data, LotStarted) and one.subject == subscription for one in service.events)


async def test_other_subscriptions_go_on_when_one_always_fails_until_repaired(service: Service) -> None:
    await service.open(utc_now() - timedelta(days=1))
    await other(service)
    soon = utc_now() + timedelta(seconds=3)
    for subscription in (SUBSCRIPTION, OTHER):
        lot = PurchaseLot(subscription=subscription, lot="soon", units=7, order_reference="PO-2", start=soon)
        assert (await service.ask(lot, key=subscription)).accepted
    async with connect(as_owner(service.dsn)) as owner:
        await owner.execute(_POISON)
    poisoned = [await service.send(plan(scan=n + 1), SUBSCRIPTION, PRIMARY) for n in range(3)]
    for n in range(12):
        await measure(service, SUBSCRIPTION, n)
        await measure(service, OTHER, n)
        assert (await service.ask(plan_for(OTHER, scan=n + 20), PRIMARY, key=OTHER)).accepted
    await until(lambda: started(service, OTHER), what="the other's lot to start")
    async with connect(service.dsn) as sees:
        await until(lambda: measured(sees, OTHER), what="the other's consumption")
        assert await sees.fetchval(_MEASURED, SUBSCRIPTION) == 0
    assert not set(poisoned) & {one.data.command_id for one in service.decided}
    async with httpx.AsyncClient() as client:
        ready = await client.get(f"{service.process.url}/readyz")
        assert ready.status_code == 200, ready.text

        async def metrics() -> str | None:
            text = (await client.get(f"{service.process.url}/metrics")).text
            wanted = (
                'unitpool_set_aside_keys{topic="allocation.commands"} 1.0',
                "unitpool_due_work_left_out 1.0",
                'unitpool_consumer_halted{topic="metering.consumption"} 0.0',
            )
            return text if all(line in text for line in wanted) else None

        await until(metrics, what="the metrics that report it")
    async with connect(as_owner(service.dsn)) as owner:
        await owner.execute(_REPAIR)
    outcomes = await service.outcomes(*poisoned, within_seconds=90)
    assert [one.accepted for one in outcomes] == [True] * 3
    applied = [one.data.changes[0].after for one in service.events if isinstance(one.data, PlanApplied)]
    assert [units for units in applied if units <= 3] == [1, 2, 3]
    await until(lambda: started(service, SUBSCRIPTION), within_seconds=90, what="its lot to start")
    async with connect(service.dsn) as sees:
        await until(lambda: measured(sees, SUBSCRIPTION), within_seconds=90, what="its consumption")


async def measured(sees: object, subscription: str) -> bool:
    """Whether consumption of the subscription is stored."""
    return bool(await sees.fetchval(_MEASURED, subscription))  # type: ignore[attr-defined]
