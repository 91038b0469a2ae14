"""Speed of exports: a million days in each format.

Also the worker's memory, and the overview beside two exports.
"""

import asyncio
import json
import time
from argparse import Namespace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import psutil

from tests.bench.days import BIG, DAYS, load_days
from tests.bench.figures import Figures, spread
from tests.bench.http_client import http_pool, open_loop
from tests.bench.overview import requests
from tests.bench.pace import Pace
from tests.bench.progress import say
from tests.bench.section import Servers, section
from tests.bench.usage import AGE_DAYS
from tests.bench.workload import Workload
from tests.support.builders.published import VENDOR
from tests.support.drivers.processes import ServiceProcess
from tests.support.servers.token_issuer import Issuer, issuing

FORMATS = ("csv", "ndjson", "parquet", "xlsx")
POLL_SECONDS = 0.2
LONGEST_SECONDS = 300
CONNECTIONS = 32
MIB = 2**20


class Vendor:
    """A vendor operator who exports usage by day."""

    def __init__(self, issuer: Issuer, reporting: ServiceProcess, since: datetime) -> None:
        token = issuer.token(VENDOR, vendor=True)
        self._http = httpx.AsyncClient(base_url=reporting.url, headers={"authorization": f"Bearer {token}"}, timeout=30)
        self._since = since

    async def export(self, format: str, until: datetime, **params: str) -> tuple[float, dict[str, Any]]:
        """Make an export; return the seconds until it was ready, and what its answer says."""
        started = time.perf_counter()
        body = {"from": self._since.isoformat(), "to": until.isoformat(), **params}
        answer = await self._http.post("/v1/exports", json={"report": "usage-by-day", "format": format, "params": body})
        shown = json.loads(answer.text)
        while shown.get("state") in {"queued", "running"} and time.perf_counter() - started < LONGEST_SECONDS:
            await asyncio.sleep(POLL_SECONDS)
            shown = (await self._http.get(f"/v1/exports/{shown['id']}")).json()
        if shown.get("state") != "succeeded":
            raise AssertionError(f"the export is not ready: {shown}")
        return time.perf_counter() - started, shown

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()


class Memory:
    """The most memory that a process and its children have used together."""

    def __init__(self, process: ServiceProcess) -> None:
        self._process = psutil.Process(process.pid)
        self.most_mb = 0

    async def watch(self) -> None:
        """Sample until cancelled."""
        while True:
            family = [self._process, *self._process.children(recursive=True)]
            used = sum(one.memory_info().rss for one in family if one.is_running()) // MIB
            self.most_mb = max(self.most_mb, used)
            await asyncio.sleep(POLL_SECONDS)


async def measure(servers: Servers, options: Namespace) -> Figures:
    """Measure the figures ``export_*``."""
    workload = Workload(0, BIG, datetime.now(UTC), age_days=AGE_DAYS)  # a million rows exactly
    async with section(servers) as made:
        dsn = await load_days(made, workload)
        with issuing() as issuer:
            storage = str(servers.logs / f"{made.prefix}exports")
            reporting = await made.start("reporting", dsn, oidc_issuer=issuer.url, export_storage=storage)
            worker = await made.start_worker(dsn, oidc_issuer=issuer.url, export_storage=storage)
            return await _measure(reporting, worker, issuer, workload, options)


async def _measure(
    reporting: ServiceProcess, worker: ServiceProcess, issuer: Issuer, workload: Workload, options: Namespace
) -> Figures:
    vendor = Vendor(issuer, reporting, workload.now - timedelta(days=DAYS - 1))
    memory = Memory(worker)
    watching = asyncio.create_task(memory.watch())
    figures: Figures = {}
    try:
        for one in FORMATS:
            seconds, shown = await vendor.export(one, workload.now)
            say(f"exports: {shown['rows_done']:,} rows of {one} in {seconds:.1f} s")
            figures[f"export_{one}_seconds"] = round(seconds, 1)
            figures[f"export_{one}_mb"] = shown["file"]["bytes"] // MIB
            figures["export_rows"] = shown["rows_done"]
        pace = Pace(options.overview_rate, options.seconds)
        wanted = requests(issuer, BIG, pace.count)
        async with http_pool(reporting.port, CONNECTIONS) as through:
            say("exports: the overview without exports")
            alone = await open_loop(through, pace, wanted.__getitem__)
            say("exports: the overview beside two exports")
            later = [workload.now - timedelta(seconds=number) for number in (1, 2)]
            exporting = [asyncio.create_task(vendor.export("csv", until)) for until in later]
            beside = await open_loop(through, pace, wanted.__getitem__)
            await asyncio.gather(*exporting)
    finally:
        watching.cancel()
        await vendor.close()
    figures["export_worker_peak_rss_mb"] = memory.most_mb
    return figures | spread("export_overview_alone", alone) | spread("export_overview_beside", beside)
