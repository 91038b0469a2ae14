"""Processes of a worker with numbered rows, each of which is killed at a point.

``python -m tests.support.drivers.export_worker_process DSN FOLDER ROWS PART_ROWS NOW POINT...`` forks a process for
each point in turn, and a last one that is not killed. A process works until no export is left, and kills itself
(SIGKILL) where it reaches its point. Each lives two minutes later than the one before, so that its lease has ended.
The exit code and the most memory of each (in MB) are printed as JSON.
"""

import asyncio
import importlib
import json
import os
import signal
import sys
from datetime import datetime, timedelta
from pathlib import Path
from uuid import uuid4

import asyncpg

from services.reporting.domain.exports import STEP_ROWS
from services.reporting.domain.reports.definitions import ReportId
from services.reporting.exports.formats.arrow_parts import use_little_memory
from services.reporting.exports.formats.catalogue import FORMATS
from services.reporting.exports.production import Limits, Point, Production
from services.reporting.exports.storage.folder import FolderStorage
from services.reporting.exports.worker import Worker
from shared.runtime.signing import parse_keys
from tests.support.builders.numbered_rows import numbered, numbered_report
from tests.support.drivers.processes import COMMAND_KEYS

APART = timedelta(minutes=2)


async def _always() -> None:
    """Wait for nothing."""


async def work(dsn: str, folder: Path, rows: int, limits: Limits, now: datetime, kill_at: str | None) -> None:  # noqa: PLR0917
    """Work until no export is left, or until the process is killed."""

    def reached(point: Point) -> None:
        if point == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    async with asyncpg.create_pool(dsn, min_size=1, max_size=4) as pool:
        production = Production(
            pool,
            FolderStorage(folder),
            reports={ReportId("purchases"): numbered_report()},
            formats=FORMATS,
            open_source=numbered(rows),
            clock=lambda: now,
            keys=parse_keys(COMMAND_KEYS),
            limits=limits,
            reached=reached,
        )
        worker = Worker(
            pool,
            production,
            name=f"process {os.getpid()}",
            can_work=_always,
            clock=lambda: now,
            new_lease=uuid4,
            limits=limits,
            poll_seconds=1,
            retry=timedelta(seconds=5),
        )
        while await worker.work_on_one():
            pass


def run(dsn: str, folder: Path, rows: int, part_rows: int, now: datetime, points: list[str]) -> list[list[int]]:  # noqa: PLR0917
    """Run a process for each point and one more; return their exit codes and memory."""
    limits = Limits(part_rows=part_rows, step_rows=min(part_rows * 2 // 5, STEP_ROWS))
    ends = []
    for count, point in enumerate([*points, None]):
        if (pid := os.fork()) == 0:
            asyncio.run(work(dsn, folder, rows, limits, now + count * APART, point))
            os._exit(0)
        _, status, used = os.wait4(pid, 0)
        ends.append([os.waitstatus_to_exitcode(status), used.ru_maxrss // 1024])
    return ends


if __name__ == "__main__":
    importlib.import_module("services.reporting.main")  # as in the process of the service
    use_little_memory()
    dsn, folder, rows, part_rows, now, *points = sys.argv[1:]
    print(json.dumps(run(dsn, Path(folder), int(rows), int(part_rows), datetime.fromisoformat(now), points)))
