"""A subscription that always fails, in every consumer and task of metering."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest

from deploy.local.topics import create_topics
from shared.events.allocation import SubscriptionCreated
from shared.events.envelope import Event
from shared.events.topics import product_usage
from shared.runtime.process.clock import utc_now
from tests.conftest import StartService
from tests.support.builders.metering import START, event, reversal, subscription
from tests.support.drivers.metering import Metering
from tests.support.drivers.metering_clients import encoded, send, until
from tests.support.servers.databases import as_owner, connect

POISONED, HEALTHY = "sub-2", "sub-1"
_RESTATING = """
INSERT INTO restating (window_start, noted_at, as_of, revision, subscription, meter, aggregate, cause)
SELECT window_start, now() - interval '1 day', as_of, revision, w.subscription, w.meter, 7, 'late_usage'
FROM meter_window w WHERE subscription = $1 AND meter = $2
"""
_MOVE = """
INSERT INTO move_due (subscription, since, lost, terms, windows, look_at) VALUES ($1, $2, false, true, false, now())
"""
_OLD_WINDOW = """
INSERT INTO meter_window (window_start, as_of, revision, subscription, meter, aggregate)
SELECT now() - interval '1000 days', now(), 1, w.subscription, w.meter, 1
FROM meter_window w WHERE subscription = $1 LIMIT 1
"""
_HOUR_DUE = """
INSERT INTO hour_due (days, subscriptions, meters, hours, events, totals, peaks)
SELECT array[current_date], array_agg(w.subscription), array_agg(w.meter), array_agg(date_trunc('hour', now())),
    array_agg(1::bigint), array_agg(1::numeric), array_agg(1::numeric)
FROM (SELECT DISTINCT subscription, meter FROM meter_window WHERE subscription = ANY ($1::integer[])) w
"""
NUMBER = "SELECT number FROM subscription WHERE id = $1"


@asynccontextmanager
async def poison(metering: Metering, table: str, condition: str, when: str = "INSERT OR UPDATE") -> AsyncIterator[None]:
    """Make every write of matching rows fail until the end of the block."""
    name = f"poison_{table}"
    async with connect(as_owner(metering.dsn)) as connection:
        await connection.execute(
            f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN IF {condition} THEN RAISE EXCEPTION 'poison'; END IF; RETURN coalesce(NEW, OLD); END $$;"
            f"CREATE TRIGGER {name} BEFORE {when} ON {table} FOR EACH ROW EXECUTE FUNCTION {name}()"
        )
        try:
            yield
        finally:
            await connection.execute(f"DROP TRIGGER {name} ON {table}; DROP FUNCTION {name}()")


async def fetch(metering: Metering, statement: str, *arguments: object) -> Any:
    async with connect(metering.dsn) as connection:
        return await connection.fetchval(statement, *arguments)


async def set_aside(metering: Metering, work: str) -> float | None:
    """Return the number of keys set aside, from the metric."""
    async with httpx.AsyncClient() as client:
        text = (await client.get(f"{metering.process.url}/metrics")).text
    found = [line for line in text.splitlines() if line.startswith(f'unitpool_set_aside{{work="{work}"}} ')]
    return float(found[0].rpartition(" ")[2]) if found else None


async def until_set_aside(metering: Metering, work: str) -> None:
    """Wait until only the poisoned key is set aside; assert that the service is ready."""
    await until(lambda: set_aside(metering, work), lambda count: count == 1)
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"{metering.process.url}/readyz")
    assert answer.status_code == 200, answer.text
    detail = answer.json()["checks"]["set aside"]["detail"]
    assert work in detail
    assert POISONED in detail
    assert HEALTHY not in detail


async def until_recovered(metering: Metering, work: str) -> None:
    """Wait until it was retried and nothing is set aside."""
    await until(lambda: set_aside(metering, work), lambda count: count == 0, seconds=90)
    assert await fetch(metering, "SELECT count(*) FROM set_aside_work WHERE work = $1", work) == 0


async def applied(metering: Metering, subject: str) -> int:
    """Count applied usage without reversed usage."""
    return int(
        await fetch(
            metering,
            "SELECT count(*) FROM usage u JOIN subscription s ON s.number = u.subscription"
            " WHERE s.id = $1 AND u.reversed_at IS NULL AND u.meter <> 0",
            subject,
        )
    )


async def test_corrections_and_hours_go_on_when_those_of_one_subscription_always_fail(metering: Metering) -> None:
    now = utc_now()
    items = {name: event(f"u-{name}", "calls", "call", subject=name, at=now) for name in (POISONED, HEALTHY)}
    number = await fetch(metering, NUMBER, POISONED)
    condition = f"NEW.subscription = {number}"
    async with (
        poison(metering, "usage_hour", condition),
        poison(metering, "correction", f"{condition} AND NEW.settled_at IS NOT NULL"),
    ):
        await metering.publish([*items.values(), *(reversal(f"r-{name}", one) for name, one in items.items())])
        await metering.publish([event("more", subject=HEALTHY, at=now, resource="a")])
        await metering.accepted(5)
        await until(lambda: applied(metering, HEALTHY), lambda count: count == 1)
        hours = "SELECT count(*)::int FROM usage_hour WHERE subscription <> $1"
        await until(lambda: fetch(metering, hours, number), lambda count: count == 1)
        for work in ("corrections", "hours"):
            await until_set_aside(metering, work)
        assert await applied(metering, POISONED) == 1
    for work in ("corrections", "hours"):
        await until_recovered(metering, work)
    assert await applied(metering, POISONED) == 0
    await until(lambda: fetch(metering, "SELECT count(*) FROM hour_due"), lambda count: count == 0)


async def test_replays_go_on_when_those_of_one_subscription_always_fail(metering: Metering) -> None:
    now = utc_now()
    names = ("sub-8", "sub-9")
    await metering.publish([event(f"e-{name}", subject=name, at=now, resource="a") for name in names])
    await metering.accepted(2)
    async with poison(metering, "quarantine", "NEW.subscription = 'sub-9' AND NEW.settled_at IS NOT NULL"):
        states = [
            Event[Any].of(
                SubscriptionCreated(subscription=subscription(name, ("scan",), start=START)),
                id=str(uuid4()),
                source="/allocation",
                time=now,
            )
            for name in names
        ]
        topic = f"{metering.prefix}allocation.events"
        await send(metering.client, topic, [(str(one.data.subscription.id), one.encode()) for one in states])
        await until(lambda: applied(metering, "sub-8"), lambda count: count == 1)
        await until(lambda: set_aside(metering, "replays"), lambda count: count == 1)
        assert await applied(metering, "sub-9") == 0
    await until_recovered(metering, "replays")
    assert await applied(metering, "sub-9") == 1
    assert (await metering.books())["quarantined"] == 0


async def test_moves_and_restatements_go_on_when_those_of_one_subscription_always_fail(metering: Metering) -> None:
    now = utc_now()
    subjects = (POISONED, HEALTHY)
    await metering.publish([event(f"u-{name}", "web", "app", subject=name, at=now, quantity=2) for name in subjects])
    await metering.accepted(2)
    await metering.drained()
    meter = await fetch(metering, "SELECT number FROM meter WHERE (product, id) = ('web', 'app')")
    numbers = {name: await fetch(metering, NUMBER, name) for name in subjects}
    condition = f"NEW.subscription = {numbers[POISONED]}"
    async with poison(metering, "meter_window", condition), poison(metering, "restatement", condition):
        async with connect(metering.dsn) as connection:
            for name in subjects:
                await connection.execute(_RESTATING, numbers[name], meter)
                await connection.execute(_MOVE, numbers[name], now - timedelta(days=1))
        for work in ("moves", "restatements"):
            await until_set_aside(metering, work)
        restated = "SELECT count(*) FROM restatement WHERE subscription = $1"
        await until(lambda: fetch(metering, restated, numbers[HEALTHY]), lambda count: count == 1)
        moved = "SELECT count(*) FROM move_due WHERE subscription = $1"
        await until(lambda: fetch(metering, moved, numbers[HEALTHY]), lambda count: count == 0)
        assert await fetch(metering, restated, numbers[POISONED]) == 0
    for work in ("moves", "restatements"):
        await until_recovered(metering, work)
    await until(lambda: fetch(metering, restated, numbers[POISONED]), lambda count: count == 1)


async def test_upkeep_goes_on_when_that_of_one_subscription_always_fails(
    metering: Metering, service_process: StartService
) -> None:
    now = utc_now()
    await metering.publish([event(f"u-{name}", "calls", "call", subject=name, at=now) for name in (POISONED, HEALTHY)])
    await metering.accepted(2)
    await metering.drained()
    numbers = {name: await fetch(metering, NUMBER, name) for name in (POISONED, HEALTHY)}
    async with connect(metering.dsn) as connection:
        for number in numbers.values():
            await connection.execute(_OLD_WINDOW, number)
    old = "SELECT count(*) FROM meter_window WHERE subscription = $1 AND window_start < now() - interval '900 days'"
    metering.process.kill()
    async with (
        poison(metering, "meter_window", f"OLD.subscription = {numbers[POISONED]}", "DELETE"),
        poison(metering, "usage_hour", f"NEW.subscription = {numbers[POISONED]}"),
    ):
        async with connect(metering.dsn) as connection:
            await connection.execute(_HOUR_DUE, list(numbers.values()))
        metering.process = service_process("metering", metering.env | {"UNITPOOL_METERING_UPKEEP_SECONDS": "1"})
        await metering.process.wait_ready()
        for work in ("upkeep", "hours"):
            await until_set_aside(metering, work)
        assert await fetch(metering, old, numbers[HEALTHY]) == 0
        assert await fetch(metering, old, numbers[POISONED]) == 1
    for work in ("upkeep", "hours"):
        await until_recovered(metering, work)
    assert await fetch(metering, old, numbers[POISONED]) == 0


@pytest.mark.parametrize("topic", ["usage.events", "usage.events.scan"])
async def test_usage_goes_on_when_that_of_one_subscription_always_fails(metering: Metering, topic: str) -> None:
    now = utc_now()
    number = await fetch(metering, NUMBER, POISONED)
    await create_topics(metering.servers, metering.prefix, [product_usage("scan")])

    async def publish(events: list[dict[str, Any]]) -> None:
        await send(metering.client, f"{metering.prefix}{topic}", [encoded(item) for item in events])

    async def waiting() -> float:
        """Return the number of keys of the topic that are set aside, from the metric."""
        async with httpx.AsyncClient() as client:
            text = (await client.get(f"{metering.process.url}/metrics")).text
        found = [line for line in text.splitlines() if line.startswith(f'unitpool_set_aside_keys{{topic="{topic}"}} ')]
        return float(found[0].rpartition(" ")[2]) if found else 0

    async with poison(metering, "meter_window", f"NEW.subscription = {number}"):
        for n in range(3):
            await publish(
                [event(f"{name}-{n}", subject=name, at=now, resource=f"r-{n}") for name in (POISONED, HEALTHY)]
            )
        await until(lambda: applied(metering, HEALTHY), lambda count: count == 3)
        assert await applied(metering, POISONED) == 0
        async with httpx.AsyncClient() as client:
            answer = await client.get(f"{metering.process.url}/readyz")
        assert answer.status_code == 200, answer.text
        await until(waiting, lambda count: count == 1)
        assert "set aside" in answer.text
        assert "halted" not in answer.text
    await until(lambda: applied(metering, POISONED), lambda count: count == 3, seconds=90)
    await until(waiting, lambda count: count == 0)
    assert await metering.accepted(6) == {"accepted": 6, "applied": 6, "duplicate": 0, "quarantined": 0}
