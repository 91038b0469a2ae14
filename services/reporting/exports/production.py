"""The production of one export: its parts with their positions, then the file."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal, NoReturn, TypeVar

from services.reporting import metrics
from services.reporting.domain.exports import (
    KEPT_FOR,
    PART_ROWS,
    STEP_ROWS,
    Claimed,
    Part,
)
from services.reporting.domain.reports.columns import Column, Row
from services.reporting.domain.reports.definitions import Format, Report, ReportId
from services.reporting.exports.assembly import Assembly
from services.reporting.exports.formats.file_format import About, ExportError, FileFormat
from services.reporting.exports.parameters import opened
from services.reporting.exports.people import present_caller
from services.reporting.exports.storage.storage import Storage
from services.reporting.queries.report_rows import ReportRequest, RowSource
from services.reporting.queries.report_sources.scope import check_access
from services.reporting.store import export_queue as store
from shared.runtime.http.middleware import ProblemError
from shared.runtime.postgres.pool import Pool
from shared.runtime.signing import Keys

T = TypeVar("T")
PART_CHARACTERS: Final = 32_000_000
"""Characters of text after which a part ends, though it has fewer rows.

A part of Parquet is held in memory at the end.
"""
STEP_CHARACTERS: Final = 2_000_000
"""Characters of text that a step should have, about."""
FIRST_STEP_ROWS: Final = 100
"""Rows of a part's first step, as each may be large."""
_GROWTH: Final = 4

Point = Literal["claimed", "part_stored", "part_saved", "file_stored", "finished"]
"""What a worker has just done. Between two of these it may be killed without harm."""
OpenSource = Callable[[ReportRequest], RowSource]


class LeaseLostError(Exception):
    """The export was cancelled, began again, or was claimed by another worker."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is done at a time. ``slice``: after this time, others take their turn."""

    lease: timedelta = timedelta(seconds=60)
    slice: timedelta = timedelta(seconds=10)
    part: timedelta = timedelta(minutes=1)
    """Time after which a part ends, so that slow rows are not read again."""
    hanging: timedelta = timedelta(minutes=10)
    """Longest time for a part; then the attempt has failed."""
    assembly: timedelta = timedelta(minutes=30)
    whole: timedelta = timedelta(days=1)
    """Longest time from the first attempt on; then the export has failed."""
    part_rows: int = PART_ROWS
    step_rows: int = STEP_ROWS


def _nothing(_point: Point) -> None:
    """Do nothing."""


class Production:
    """Makes exports that are claimed.

    ``reached`` is called at each ``Point``; tests kill the process there.
    """

    def __init__(
        self,
        pool: Pool,
        storage: Storage,
        *,
        reports: Mapping[ReportId, Report],
        formats: Mapping[Format, FileFormat],
        open_source: OpenSource,
        clock: Callable[[], datetime],
        keys: Keys,
        limits: Limits,
        reached: Callable[[Point], None] = _nothing,
    ) -> None:
        self._pool = pool
        self._storage = storage
        self._reports = reports
        self._formats = formats
        self._open_source = open_source
        self._clock = clock
        self._keys = keys
        self._limits = limits
        self._reached = reached
        self._assembling = asyncio.Semaphore(1)
        """One file is assembled at a time in a process.

        It takes memory, and all of a processor.
        """

    async def work(self, claimed: Claimed) -> bool:
        """Go on with an export; return whether it is finished, else its slice is over.

        Raises:
            LeaseLostError: it is not this worker's any more.
            ExportError: it can never be made.
            StorageError, TimeoutError, ...: this attempt has failed.
        """
        self._reached("claimed")
        request, about = await self._prepare(claimed)
        job = _Job(claimed, self._open_source(request), self._formats[claimed.export.format], about)
        await self._expect(job)
        until = self._clock() + self._limits.slice
        parts, position, all_read = list(claimed.parts), claimed.position, claimed.all_read
        while not all_read:
            async with asyncio.timeout(self._limits.hanging.total_seconds()):
                part, position = await self._make_part(job, len(parts) + 1, position)
            self._reached("part_stored")
            await self._save_part(claimed, part, position)
            self._reached("part_saved")
            parts.append(part)
            all_read = position is None
            if not all_read and self._clock() >= until:
                return False
        await self._finish(job, parts)
        return True

    async def _prepare(self, claimed: Claimed) -> tuple[ReportRequest, About]:
        """Check the rights of the requester as they are now.

        Raises:
            ExportError: they have none.
        """
        export = claimed.export
        report = self._reports.get(export.report)
        if report is None or export.format not in self._formats:
            raise ExportError("This report does not exist any more in this format.")
        if export.started_at is not None and self._clock() - export.started_at > self._limits.whole:
            raise ExportError("It took longer than a day. Choose a shorter time, or fewer subscriptions.")
        parameters = opened(export.parameters, self._keys)
        async with self._pool.acquire() as connection:
            caller = await present_caller(connection, export)
            if caller is None:
                raise ExportError("The person who requested it is not known any more.")
            try:
                await check_access(connection, caller, report, parameters)
            except ProblemError as refused:
                raise ExportError(f"You may not read this report any more. {refused.refusal.message}") from refused
        about = About(report, parameters, export.as_of, export.started_at or export.requested_at, caller.email)
        return ReportRequest(report, parameters, export.as_of, caller), about

    async def _expect(self, job: "_Job") -> None:
        if job.claimed.export.rows_expected is None:
            async with self._pool.acquire() as connection:
                rows = await job.source.count(connection)
                _require(await store.set_expected(connection, job.claimed, rows))

    async def _make_part(self, job: "_Job", number: int, position: str | None) -> tuple[Part, str | None]:
        key = f"{job.claimed.export.id}/parts/{number:06d}-{job.claimed.lease.hex}"
        steps = _Steps(job.about.report.columns, self._limits)
        async with _in_threads(self._storage.create(key)) as sink:
            writer = await asyncio.to_thread(job.format.begin_part, job.about, sink)
            while True:
                async with self._pool.acquire() as connection:
                    step = await job.source.read(connection, position, steps.limit)
                await asyncio.to_thread(writer.write, step.rows)
                steps.add(step.rows)
                position = step.position
                if position is None or steps.is_full:
                    break
            await asyncio.to_thread(writer.close)
        return Part(number, key, steps.rows), position

    async def _save_part(self, claimed: Claimed, part: Part, position: str | None) -> None:
        async with self._pool.acquire() as connection:
            until = self._clock() + self._limits.lease
            _require(await store.add_part(connection, claimed, part, position, until))
        metrics.EXPORT_ROWS.inc(part.rows)

    async def _finish(self, job: "_Job", parts: Sequence[Part]) -> None:
        claimed, prefix = job.claimed, f"{job.claimed.export.id}/"
        assembly = Assembly(self._storage, job.format, job.about)
        try:
            async with self._assembling, asyncio.timeout(self._limits.assembly.total_seconds()):
                file = await asyncio.to_thread(assembly.run, parts, f"{prefix}file-{claimed.lease.hex}", prefix)
        except BaseException:
            assembly.stop()
            raise
        self._reached("file_stored")
        now = self._clock()
        async with self._pool.acquire() as connection:
            _require(await store.finish_export(connection, claimed, file, now, now + KEPT_FOR))
        self._reached("finished")


@dataclass(frozen=True, slots=True)
class _Job:
    claimed: Claimed
    source: RowSource
    format: FileFormat
    about: About


class _Steps:
    """How many rows a part has, and how many to read next.

    It depends on the part's rows, so that a part made again has the same steps, unless they are slow.
    """

    def __init__(self, columns: Sequence[Column], limits: Limits) -> None:
        self._texts = [index for index, one in enumerate(columns) if one.type == "text"]
        self._limits = limits
        self._next = FIRST_STEP_ROWS
        self._characters = 0
        self._until = time.monotonic() + limits.part.total_seconds()
        self.rows = 0

    @property
    def limit(self) -> int:
        return min(self._next, self._limits.step_rows, self._limits.part_rows - self.rows)

    @property
    def is_full(self) -> bool:
        is_large = self.rows >= self._limits.part_rows or self._characters >= PART_CHARACTERS
        return is_large or time.monotonic() >= self._until

    def add(self, rows: Sequence[Row]) -> None:
        characters = sum(len(text) for index in self._texts for row in rows if isinstance(text := row[index], str))
        self.rows += len(rows)
        self._characters += characters
        if rows:
            fitting = len(rows) * STEP_CHARACTERS // max(characters, 1)
            self._next = max(1, min(fitting, self._next * _GROWTH, self._limits.step_rows))


def _require(in_force: bool) -> None:
    if not in_force:
        _lost()


def _lost() -> NoReturn:
    raise LeaseLostError


@asynccontextmanager
async def _in_threads(manager: AbstractContextManager[T]) -> AsyncIterator[T]:
    """Enter and leave a context manager that blocks."""
    value = await asyncio.to_thread(manager.__enter__)
    try:
        yield value
    except BaseException as error:
        await asyncio.to_thread(manager.__exit__, type(error), error, error.__traceback__)
        raise
    await asyncio.to_thread(manager.__exit__, None, None, None)
