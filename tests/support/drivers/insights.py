"""Driver of the daily run of insights: makes forecasts and reads those published."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from datetime import time as time_of_day

from services.reporting.insights.daily_run import INSIGHTS, DailyRun
from shared.events.envelope import Event, by_type, decode
from shared.events.reporting import REPORTING_EVENTS, ForecastMade
from shared.events.topics import REPORTING_EVENTS_TOPIC
from shared.runtime.delivery import outbox
from shared.runtime.delivery.set_aside_work import SetAside
from tests.support.builders.insights import (
    snapshots_of,
    state_of,
    windows,
)
from tests.support.builders.published import account, created, product, team
from tests.support.drivers.reporting import ReportingDriver, reporting
from tests.support.servers.token_issuer import Issuer

USED, IDLE = [400] * 12 + [380], [20] * 13
MIDNIGHT = time_of_day(0)


class MovingClock:
    """A clock that a test sets."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        """Return the time that was set."""
        return self.now


def run_of(driver: ReportingDriver, clock: MovingClock) -> DailyRun:
    """Build the run of one replica."""
    return DailyRun(driver.runtime.transaction, clock, SetAside(INSIGHTS), at=MIDNIGHT, poll_seconds=60)


async def finish(run: DailyRun) -> int:
    """Make forecasts until none is due; return how often one was tried."""
    for count in range(500):
        if await run.make_next() == 60:
            return count
    raise AssertionError("the run does not end")


async def published(driver: ReportingDriver) -> list[Event[ForecastMade]]:
    """Return the forecasts in the outbox, and check their topic and key."""
    async with driver.runtime.pool.acquire() as connection:
        rows = await outbox.load(connection, 10_000)
    found = []
    for _, outgoing in rows:
        assert outgoing.value is not None
        if event := decode(outgoing.value, by_type(REPORTING_EVENTS)):
            assert (outgoing.topic, outgoing.key) == (REPORTING_EVENTS_TOPIC.name, event.data.subscription.encode())
            found.append(event)
    return found


async def sell(driver: ReportingDriver, count: int) -> list[str]:
    """Add subscriptions with one product; return their ids."""
    names = [f"sub-{number:03}" for number in range(100, 100 + count)]
    await driver.apply(*(created(state_of({"scan": 500}, 700, id=name)) for name in names))
    await driver.measure(*(one for name in names for one in snapshots_of(windows(USED), name)))
    return names


@asynccontextmanager
async def with_history(dsn: str, issuer: Issuer, clock: MovingClock) -> AsyncIterator[ReportingDriver]:
    """Start reporting with two products, one used and one idle, for twelve windows."""
    async with reporting(dsn, issuer, clock=clock) as driver:
        await driver.apply(account(), product(), product("hub"), *team())
        await driver.apply(created(state_of({"scan": 300, "hub": 200}, 500)))
        await driver.measure(*snapshots_of([*windows(USED), *windows(IDLE, "hub")]))
        yield driver
