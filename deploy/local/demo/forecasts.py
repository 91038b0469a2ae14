"""The forecasts of the demo's subscriptions, made once all of their past is shown."""

import asyncio
import sys
from collections.abc import Mapping

from deploy.local.environment import clean_environment, service_environment
from deploy.local.errors import LocalStackError
from deploy.local.layout import CHECKOUT, Layout
from shared.events.topics import ServiceName


async def make_forecasts(layout: Layout, databases: Mapping[ServiceName, str]) -> None:
    """Run ``python -m services.reporting insights``.

    The daily run of the service would make them in the next night.

    Raises:
        LocalStackError: it failed; the message has what it printed.
    """
    environment = service_environment(layout, databases)["reporting"]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services.reporting", "insights"),
        cwd=CHECKOUT,
        env={**clean_environment(), **environment},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    printed, _ = await process.communicate()
    if process.returncode:
        raise LocalStackError(f"The forecasts could not be made: {printed.decode(errors='replace')[-2000:]}")
