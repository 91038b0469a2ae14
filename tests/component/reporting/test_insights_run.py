"""The daily run that makes forecasts: once, for everyone, whatever fails for one."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from datetime import time as time_of_day
from typing import Any

import pytest

from services.reporting.insights.command import make_all
from services.reporting.insights.daily_run import DailyRun, last_due
from services.reporting.main import READ_MODEL, definition
from services.reporting.store.insights import find_newest_forecast
from shared.events.topics import REPORTING_EVENTS_TOPIC
from shared.runtime.service.definition import Runtime
from tests.component.reporting.test_isolation import poison
from tests.conftest import MakeDatabase
from tests.support.builders.insights import (
    ENDS,
    PRESENT,
    WINDOW_DAYS,
    a_lot,
    at_window,
    snapshots_of,
    state_of,
    windows,
)
from tests.support.builders.published import account, created, product, team
from tests.support.drivers.insights import MovingClock, finish, published, run_of, sell, with_history
from tests.support.drivers.reporting import ReportingDriver, reporting
from tests.support.servers.databases import as_owner, connect
from tests.support.servers.token_issuer import Issuer

PATH = "/v1/subscriptions/sub-1/insights"


@pytest.fixture
def clock() -> MovingClock:
    """The clock of the driver."""
    return MovingClock(PRESENT)


@pytest.fixture
async def insights(database: MakeDatabase, shared_issuer: Issuer, clock: MovingClock) -> AsyncIterator[ReportingDriver]:
    """Start reporting with two products, one used and one idle, for twelve windows."""
    async with with_history(await database("reporting"), shared_issuer, clock) as driver:
        yield driver


async def test_a_run_stores_and_publishes_each_forecast_once(insights: ReportingDriver, clock: MovingClock) -> None:
    run = run_of(insights, clock)
    assert await finish(run) == 1
    assert await finish(run) == 0, "until the next day"
    (event,) = await published(insights)
    forecast = event.data
    assert (event.subject, event.source, forecast.version, forecast.subscription_version) == (
        "sub-1",
        "/reporting",
        1,
        7,
    )
    assert (forecast.made_at, forecast.term_end, forecast.has_proposal) == (PRESENT, ENDS, True)
    assert [(one.scope, one.product, one.basis) for one in forecast.run_outs] == [
        ("pool", None, "with_range"),
        ("product", "scan", "used_up"),
        ("product", "hub", "with_range"),
    ]
    clock.now += timedelta(days=1)
    assert await finish(run) == 1
    first, second = await published(insights)
    assert (first.data.version, second.data.version) == (1, 2)
    assert second.data.made_at == clock.now
    async with insights.runtime.pool.acquire() as connection:
        assert await connection.fetchval("SELECT count(*) FROM forecasts") == 1, "of a window the newest one"
        stored = await find_newest_forecast(connection, "sub-1")
    assert stored is not None
    assert (stored.version, stored.method, stored.window_start) == (2, 1, at_window(12))
    assert len(stored.inputs) == 26
    assert {one.product for one in stored.scopes} == {None, "scan", "hub"}


async def test_forecasts_are_compared_with_what_then_happened(insights: ReportingDriver, clock: MovingClock) -> None:
    run = run_of(insights, clock)
    await finish(run)
    grown = windows([*[400] * 12, 420, 460, 440])
    clock.now = at_window(14) + timedelta(days=1)
    await insights.measure(*snapshots_of(grown, revision=2))
    await finish(run)
    accuracy = (await insights.get(PATH))["products"][0]["accuracy"]
    assert accuracy == {
        "compared": 2,
        "mean_error": 40,
        "mean_error_percent": 9.1,
        "with_range": 2,
        "within_range_percent": 0.0,
    }, "400 was expected of both windows, and 420 and 460 happened"
    async with insights.runtime.pool.acquire() as connection:
        assert await connection.fetchval("SELECT count(*) FROM forecasts") == 2
    clock.now = PRESENT + timedelta(days=400)
    await finish(run)
    async with insights.runtime.pool.acquire() as connection:
        assert await connection.fetchval("SELECT count(*) FROM forecasts WHERE made_at = $1", PRESENT) == 0


async def test_subscriptions_outside_their_term_have_no_forecast(insights: ReportingDriver, clock: MovingClock) -> None:
    for number, state in enumerate(["pending", "grace", "read_only", "expired", "cancelled"]):
        await insights.apply(created(state_of({"scan": 1}, id=f"other-{number}", state=state)))
    await insights.apply(created(state_of({"scan": 1}, id="other-9", model="per_product")))
    assert await finish(run_of(insights, clock)) == 1


async def test_two_replicas_make_each_forecast_once(insights: ReportingDriver, clock: MovingClock) -> None:
    names = await sell(insights, 40)

    async def replica() -> None:
        run = run_of(insights, clock)
        while len(await published(insights)) < len(names) + 1:
            await run.make_next()

    await asyncio.gather(replica(), replica())
    events = await published(insights)
    assert sorted(one.data.subscription for one in events) == ["sub-1", *names]
    assert {one.data.version for one in events} == {1}


async def test_an_interrupted_run_goes_on_where_it_was(insights: ReportingDriver, clock: MovingClock) -> None:
    names = await sell(insights, 20)
    run = run_of(insights, clock)
    for _ in range(7):
        await run.make_next()
    assert await finish(run_of(insights, clock)) == 14, "another process makes the rest"
    assert len(await published(insights)) == len(names) + 1


async def test_other_subscriptions_go_on_when_one_always_fails(insights: ReportingDriver, clock: MovingClock) -> None:
    names = await sell(insights, 5)
    dsn = insights.runtime.settings.database_url.get_secret_value()
    run = run_of(insights, clock)
    async with poison(dsn, "forecasts", "NEW.subscription = 'sub-102'"):
        assert await finish(run) == 6
        clock.now += timedelta(minutes=1)
        assert await finish(run) == 1, "it alone is tried again"
    assert {one.data.subscription for one in await published(insights)} == {"sub-1", *names} - {"sub-102"}
    async with insights.runtime.pool.acquire() as connection:
        row = await connection.fetchrow("SELECT whose, failures FROM set_aside_work WHERE work = 'insights'")
        assert row is not None
        assert tuple(row) == ("sub-102", 2)
    clock.now += timedelta(minutes=1)
    assert await finish(run) == 1
    async with insights.runtime.pool.acquire() as connection:
        assert await connection.fetchval("SELECT count(*) FROM set_aside_work") == 0
        assert await connection.fetchval("SELECT count(*) FROM forecasts") == 6


async def test_other_subscriptions_go_on_when_the_state_of_one_is_unreadable(
    insights: ReportingDriver, clock: MovingClock
) -> None:
    await sell(insights, 3)
    async with insights.runtime.pool.acquire() as connection:
        await connection.execute("UPDATE subscriptions SET state = state - 'window_days' WHERE id = 'sub-101'")
    await finish(run_of(insights, clock))
    assert {one.data.subscription for one in await published(insights)} == {"sub-1", "sub-100", "sub-102"}


async def test_other_subscriptions_go_on_when_one_is_locked(insights: ReportingDriver, clock: MovingClock) -> None:
    await sell(insights, 3)
    run = run_of(insights, clock)
    await finish(run)
    clock.now += timedelta(days=1)
    dsn = insights.runtime.settings.database_url.get_secret_value()
    async with connect(dsn) as connection, connection.transaction():
        await connection.execute("SELECT FROM forecasts WHERE subscription = 'sub-100' FOR UPDATE")
        assert await asyncio.wait_for(finish(run), 20) == 4
    assert len(await published(insights)) == 4 + 3


@asynccontextmanager
async def slow(dsn: str, subscription: str) -> AsyncIterator[None]:
    """Make every write of a subscription's forecast take longer than is allowed."""
    async with connect(as_owner(dsn)) as connection:
        await connection.execute(
            "CREATE FUNCTION slowly() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(30); RETURN NEW; "
            f"END $$; CREATE TRIGGER slowly BEFORE INSERT ON forecasts FOR EACH ROW "
            f"WHEN (NEW.subscription = '{subscription}') EXECUTE FUNCTION slowly()"
        )
        try:
            yield
        finally:
            await connection.execute("DROP TRIGGER slowly ON forecasts; DROP FUNCTION slowly()")


async def test_other_subscriptions_go_on_when_the_statements_of_one_take_too_long(
    database: MakeDatabase, shared_issuer: Issuer, clock: MovingClock
) -> None:
    dsn = await database("reporting")
    async with reporting(dsn, shared_issuer, clock=clock, statement_timeout_seconds=1) as driver:
        await driver.apply(account(), product(), *team())
        await sell(driver, 3)
        async with slow(dsn, "sub-100"):
            assert await asyncio.wait_for(finish(run_of(driver, clock)), 20) == 3
        assert {one.data.subscription for one in await published(driver)} == {"sub-101", "sub-102"}


async def test_the_run_goes_on_with_the_next_when_the_connection_breaks(
    insights: ReportingDriver, clock: MovingClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await sell(insights, 3)
    run = run_of(insights, clock)
    made = DailyRun.make
    tried: list[str] = []

    async def broken_once(self: DailyRun, subscription: str, due_at: datetime, *, wait: bool = False) -> Any:
        tried.append(subscription)
        if tried == ["sub-1"]:
            raise ConnectionResetError("the database is away")
        return await made(self, subscription, due_at, wait=wait)

    monkeypatch.setattr(DailyRun, "make", broken_once)
    with pytest.raises(ConnectionResetError):
        await finish(run)
    await finish(run)
    assert tried == ["sub-1", "sub-100", "sub-101", "sub-102", "sub-1"]
    assert len(await published(insights)) == 4


async def test_the_event_loop_stays_responsive_during_a_large_subscription(
    insights: ReportingDriver, clock: MovingClock
) -> None:
    many = [f"p{number}" for number in range(100)]
    await insights.apply(*(product(name) for name in many))
    await insights.apply(created(state_of(dict.fromkeys(many, 100), 20_000, id="large")))
    levels = [90 + number * 7 % 20 for number in range(13)]
    await insights.measure(*(one for name in many for one in snapshots_of(windows(levels, name), "large")))
    gaps: list[float] = []
    stop = asyncio.Event()

    async def beat() -> None:
        last = time.monotonic()
        while not stop.is_set():
            await asyncio.sleep(0)
            gaps.append(time.monotonic() - last)
            last = time.monotonic()

    beating = asyncio.create_task(beat())
    await finish(run_of(insights, clock))
    stop.set()
    await beating
    assert len(await published(insights)) == 2
    assert len([gap for gap in gaps if gap > 0.05]) <= 3, sorted(gaps)[-5:]


async def test_the_command_makes_all_forecasts_and_says_how_many(
    insights: ReportingDriver, clock: MovingClock, capsys: pytest.CaptureFixture[str]
) -> None:
    await sell(insights, 4)
    await finish(run_of(insights, clock))
    dsn = insights.runtime.settings.database_url.get_secret_value()

    async def command() -> int:
        clock.now += timedelta(minutes=1)
        return await make_all(Runtime(definition(), insights.runtime.settings, clock))

    assert await command() == 0
    assert "5 forecasts made, 0 failed" in capsys.readouterr().out
    assert len(await published(insights)) == 10, "also of those that had one today"
    async with poison(dsn, "forecasts", "NEW.subscription = 'sub-102'"):
        assert await command() == 1
    assert "4 forecasts made, 1 failed" in capsys.readouterr().out
    async with connect(as_owner(dsn)) as connection:
        await connection.execute(
            "INSERT INTO rebuilds (topic, partition, until_offset, is_emptied) VALUES ('allocation.events', 0, 5, true)"
        )
    assert await command() == 2
    assert "being rebuilt" in capsys.readouterr().err


def test_forecasts_are_due_from_a_time_of_day() -> None:
    two = time_of_day(2)
    assert last_due(PRESENT.replace(hour=2), two) == PRESENT.replace(hour=2)
    assert last_due(PRESENT.replace(hour=1, minute=59), two) == PRESENT.replace(hour=2) - timedelta(days=1)
    assert last_due(PRESENT.replace(hour=23), two) == PRESENT.replace(hour=2)


def test_forecasts_are_kept_when_the_read_models_are_rebuilt() -> None:
    assert "forecasts" not in READ_MODEL.tables
    assert REPORTING_EVENTS_TOPIC not in READ_MODEL.topics


async def test_a_pool_that_shrinks_is_compared_with_what_is_left(insights: ReportingDriver) -> None:
    lots = [a_lot(300), a_lot(300, end=PRESENT + WINDOW_DAYS)]
    await insights.apply(created(state_of({"scan": 400}, lots=lots).model_copy(update={"version": 8})))
    run_out = (await insights.get(PATH))["pool"]["run_out"]
    assert run_out["around"] == "2026-07-20T00:00:00Z"
    assert run_out["before_term_end"] is True
