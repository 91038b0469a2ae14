"""Duration of a daily run of forecasts, by the command and in one process."""

import os
import time
from argparse import Namespace
from datetime import UTC, datetime

from tests.bench.figures import Figures
from tests.bench.loading import load_reporting
from tests.bench.overview import AGE_DAYS, WINDOWS
from tests.bench.progress import say
from tests.bench.section import Servers, section, settle
from tests.bench.workload import Workload


async def measure(servers: Servers, options: Namespace) -> Figures:
    """Measure the figures ``insights_*``."""
    workload = Workload(0, options.subscriptions, datetime.now(UTC), age_days=AGE_DAYS)
    async with section(servers) as made:
        dsn = await made.database("reporting")
        await load_reporting(dsn, workload, WINDOWS)
        await settle(servers, dsn)
        say(f"insights: forecasts of {options.subscriptions:,} subscriptions")
        command = made.command("reporting", dsn, "insights")
        before, started = os.times(), time.perf_counter()
        code = await command.wait_ended(3600)
        seconds, after = time.perf_counter() - started, os.times()
        if code:
            raise AssertionError(f"the command ended with {code}")
    return {
        "insights_subscriptions": options.subscriptions,
        "insights_seconds": round(seconds, 1),
        "insights_cpu_seconds": round(after.children_user + after.children_system - before[2] - before[3], 1),
    }
