"""Driver of exports in this process: requests, workers and downloads."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx

from services.reporting.domain.reports.catalogue import REPORTS
from services.reporting.domain.reports.definitions import Report, ReportId
from services.reporting.exports.cleaning import Cleaning
from services.reporting.exports.formats.catalogue import FORMATS
from services.reporting.exports.production import Limits, OpenSource, Point, Production
from services.reporting.exports.storage.folder import FolderStorage
from services.reporting.exports.storage.storage import Storage
from services.reporting.exports.worker import Worker
from services.reporting.queries.report_sources.opening import open_source
from shared.runtime.signing import parse_keys
from tests.support.builders.numbered_rows import numbered_report
from tests.support.builders.published import NOW, VENDOR, account, created, product, team
from tests.support.drivers.processes import COMMAND_KEYS
from tests.support.drivers.reporting import ReportingDriver, reporting
from tests.support.servers.token_issuer import Issuer

SMALL = Limits(part_rows=100, step_rows=40, slice=timedelta(days=1))
NUMBERED: Mapping[ReportId, Report] = {ReportId("purchases"): numbered_report()}


class MovingClock:
    """A clock that tests move."""

    def __init__(self, now: datetime = NOW) -> None:
        self.now = now

    def __call__(self) -> datetime:
        """The present instant."""
        return self.now

    def move(self, **time: float) -> None:
        """Move on by a time, as ``timedelta`` takes it."""
        self.now += timedelta(**time)


async def _always() -> None:
    """Wait for nothing."""


class ExportDriver:
    """Requests and makes exports."""

    def __init__(self, reporting: ReportingDriver, clock: MovingClock, folder: Path) -> None:
        self.reporting = reporting
        self.clock = clock
        self.folder = folder
        self.storage: Storage = FolderStorage(folder)

    def worker(
        self,
        source: OpenSource = open_source,
        *,
        reports: Mapping[ReportId, Report] | None = None,
        limits: Limits = SMALL,
        storage: Storage | None = None,
        reached: Callable[[Point], None] = lambda _: None,
        retry: timedelta = timedelta(seconds=5),
    ) -> Worker:
        """A worker; with a ``source`` of numbered rows, of the report ``purchases``."""
        pool = self.reporting.runtime.pool
        production = Production(
            pool,
            storage or self.storage,
            reports=reports or (REPORTS if source is open_source else NUMBERED),
            formats=FORMATS,
            open_source=source,
            clock=self.clock,
            keys=parse_keys(COMMAND_KEYS),
            limits=limits,
            reached=reached,
        )
        return Worker(
            pool,
            production,
            name="test",
            can_work=_always,
            clock=self.clock,
            new_lease=uuid4,
            limits=limits,
            poll_seconds=0.05,
            retry=retry,
        )

    async def clean(self) -> None:
        """Expire exports, and delete files that are not needed."""
        await Cleaning(self.reporting.runtime.pool, self.storage, clock=self.clock, every_seconds=1).clean()

    def stored(self) -> list[str]:
        """The names of all stored files."""
        return sorted(str(one.relative_to(self.folder)) for one in self.folder.rglob("*") if one.is_file())

    async def ask(self, who: str = VENDOR, *, key: str | None = None, **body: Any) -> httpx.Response:
        """Request an export."""
        headers = {"Idempotency-Key": key} if key else {}
        given = {"report": "purchases", "format": "csv", **body}
        return await self.reporting.ask("POST", "/v1/exports", who, json=given, headers=headers)

    async def queue(self, who: str = VENDOR, **body: Any) -> str:
        """Request an export that must be accepted; return its id."""
        answer = await self.ask(who, **body)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    async def shown(self, export: str, who: str = VENDOR) -> Any:
        """An export as its requester sees it."""
        return await self.reporting.get(f"/v1/exports/{export}", who)

    async def file(self, export: str, who: str = VENDOR, **headers: str) -> httpx.Response:
        """Download a file with a token."""
        return await self.reporting.ask("GET", f"/v1/exports/{export}/file", who, headers=headers)

    async def made(self, worker: Worker, who: str = VENDOR, **body: Any) -> httpx.Response:
        """Request an export, make it, and download it."""
        export = await self.queue(who, **body)
        while await worker.work_on_one():
            pass
        answer = await self.file(export, who)
        assert answer.status_code == 200, (answer.text, await self.shown(export, who))
        return answer

    async def rows(self, statement: str, *values: Any) -> list[Any]:
        """Rows of the database."""
        async with self.reporting.runtime.pool.acquire() as connection:
            return [dict(row) for row in await connection.fetch(statement, *values)]


@asynccontextmanager
async def exporting(dsn: str, issuer: Issuer, folder: Path, **settings: Any) -> AsyncIterator[ExportDriver]:
    """Start reporting with a subscription of Acme, and a storage in a folder.

    With ``export_storage`` among the settings, the routes use another.
    """
    clock = MovingClock()
    async with reporting(dsn, issuer, clock=clock, **{"export_storage": str(folder), **settings}) as driver:
        await driver.apply(account(), product(), *team(), created())
        yield ExportDriver(driver, clock, folder)
