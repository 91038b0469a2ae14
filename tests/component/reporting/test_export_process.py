"""The worker's process: it makes exports of real reports, and stops in order."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from deploy.local import tether
from deploy.local.ports import free_port
from tests.conftest import MakeDatabase
from tests.support.builders.published import PRIMARY, account, created, product, team
from tests.support.drivers.exports import ExportDriver, MovingClock
from tests.support.drivers.processes import ROOT, service_env
from tests.support.drivers.reporting import reporting
from tests.support.servers.token_issuer import Issuer

pytestmark = pytest.mark.timeout(300)

FORMATS = ("csv", "ndjson", "json", "xlsx", "parquet", "pdf")
DEADLINE_SECONDS = 200
"""The worker gives way to other processes, so it is slow on a busy machine."""
UNREACHABLE = "127.0.0.1:9"


@asynccontextmanager
async def worker_process(dsn: str, **settings: str) -> AsyncIterator[tuple[str, asyncio.subprocess.Process]]:
    """Start a worker, which needs no Kafka; yield its address and process."""
    port = free_port()
    env = service_env("reporting", dsn=dsn, kafka=UNREACHABLE, worker_http_port=str(port), **settings)
    python = (sys.executable, "-m", "services.reporting", "worker")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", tether.__file__, "SIGKILL", "--", *python),
        cwd=ROOT,
        env={**{name: value for name, value in os.environ.items() if not name.startswith("UNITPOOL_")}, **env},
    )
    try:
        yield f"http://127.0.0.1:{port}", process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def ready(url: str) -> dict[str, Any]:
    """Wait until the worker is ready; return its checks."""
    async with httpx.AsyncClient() as client, asyncio.timeout(DEADLINE_SECONDS):
        while True:
            try:
                answer = await client.get(f"{url}/readyz")
            except httpx.HTTPError:
                await asyncio.sleep(0.05)
                continue
            if answer.status_code == 200:
                body: dict[str, Any] = answer.json()
                return body
            await asyncio.sleep(0.05)


async def metrics_when(url: str, line: str) -> str:
    """Wait until the worker's metrics have a line, and return them."""
    async with httpx.AsyncClient() as client, asyncio.timeout(DEADLINE_SECONDS):
        while line not in (text := (await client.get(f"{url}/metrics")).text):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    return text


async def succeeded(exports: ExportDriver, export: str) -> None:
    """Wait until an export has succeeded."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while (shown := await exports.shown(export, PRIMARY))["state"] != "succeeded":
            assert shown["state"] in {"queued", "running"}, shown
            await asyncio.sleep(0.05)


async def test_the_worker_makes_every_format_and_stops_in_order(
    database: MakeDatabase, shared_issuer: Issuer, tmp_path: Path
) -> None:
    dsn = await database("reporting")
    settings = {"export_storage": str(tmp_path / "exports"), "worker_poll_seconds": "0.05"}
    async with (
        reporting(
            dsn, shared_issuer, clock=lambda: datetime.now(UTC), export_storage=settings["export_storage"]
        ) as one,
        worker_process(dsn, **settings) as (url, process),
    ):
        await one.apply(account(), product(), *team(), created())
        exports = ExportDriver(one, MovingClock(), tmp_path / "exports")
        made = [
            await exports.queue(PRIMARY, report="subscription-summary", format=one_format) for one_format in FORMATS
        ]
        assert (await ready(url))["checks"]["storage"]["ok"]
        for export in made:
            await succeeded(exports, export)
            assert (await exports.file(export, PRIMARY)).status_code == 200
        metrics = await metrics_when(url, "unitpool_exports_waiting 0.0")
        for one_format in FORMATS:
            labels = f'format="{one_format}",outcome="succeeded",report="subscription-summary"'
            assert f"unitpool_exports_total{{{labels}}} 1.0" in metrics
        assert "unitpool_export_rows_total 6.0" in metrics
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 60) == 0


async def test_a_worker_whose_storage_is_away_says_so_and_stays_up(database: MakeDatabase, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    async with worker_process(await database("reporting"), export_storage=str(tmp_path / "file")) as (url, _):
        report = await ready(url)
        assert (report["status"], report["checks"]["storage"]["ok"]) == ("degraded", False)
