"""``insights``: make all forecasts now, beside the running service."""

import sys
from argparse import Namespace
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Final

from services.reporting.insights.daily_run import FOUND_AT_ONCE, INSIGHTS, DailyRun
from services.reporting.settings import ReportingSettings
from services.reporting.store.insights import count_due, find_due
from shared.runtime.delivery.set_aside_work import SetAside
from shared.runtime.postgres.migrations import require_fit
from shared.runtime.postgres.pool import Pool, open_pool
from shared.runtime.service.command_line import Runtime, ServiceCommand, ServiceDefinition

DONE, SOME_FAILED, NOT_RUN = 0, 1, 2
PROGRESS_FORECASTS: Final = 500


def insights_command(
    definition: Callable[[], ServiceDefinition[ReportingSettings]],
) -> ServiceCommand[ReportingSettings]:
    """Build the command for a service, whose runtime it uses."""

    async def run(settings: ReportingSettings, _parsed: Namespace) -> int:
        return await make_all(Runtime(definition(), settings))

    return ServiceCommand("insights", "make the forecasts of all subscriptions now, with progress", run)


async def make_all(runtime: Runtime[ReportingSettings]) -> int:
    """Make all forecasts, print progress, and return the exit code.

    0: all are made; 1: some failed, and the service retries them; 2: a rebuild is running, so none were made. The
    running service publishes them.
    """
    await open_pool(runtime.pool, runtime.settings)
    try:
        async with runtime.pool.acquire() as connection:
            await require_fit(connection, runtime.migrations)
        await runtime.database_clock.measure()
        await runtime.read_model_state.refresh()
        if not runtime.read_model_state.is_complete:
            print("the read model is being rebuilt; run this command when it is complete", file=sys.stderr)
            return NOT_RUN
        return await _make_all(runtime)
    finally:
        await runtime.pool.close()


async def _make_all(runtime: Runtime[ReportingSettings]) -> int:
    run = DailyRun(
        runtime.transaction, runtime.clock, SetAside(INSIGHTS), at=runtime.settings.insights_at, poll_seconds=0
    )
    now = runtime.clock()
    async with runtime.pool.acquire() as connection:
        total = await count_due(connection, now)
    done = failed = 0
    async for subscription in _all_due(runtime.pool, now):
        failed += await run.make(subscription, now, wait=True) == "failed"
        done += 1
        if done % PROGRESS_FORECASTS == 0:
            print(f"{runtime.name}: {done} of {total} forecasts made", file=sys.stderr, flush=True)
    print(f"{runtime.name}: {done - failed} forecasts made, {failed} failed; the running service publishes them")
    return SOME_FAILED if failed else DONE


async def _all_due(pool: Pool, now: datetime) -> AsyncIterator[str]:
    after: str | None = ""
    while after is not None:
        async with pool.acquire() as connection:
            found = await find_due(connection, now, after, (), FOUND_AT_ONCE)
        for subscription in found:
            yield subscription
        after = found[-1] if found else None
