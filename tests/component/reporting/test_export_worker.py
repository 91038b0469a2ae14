"""The worker: kills, leases, fairness, and failures of storage and rows."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from services.reporting.domain.exports import ATTEMPTS_MAX, PART_ROWS
from services.reporting.exports.production import Point
from services.reporting.exports.storage.folder import FolderStorage
from services.reporting.exports.storage.storage import StorageError, StorageFullError
from services.reporting.queries.report_rows import Position, ReportRequest, Step
from shared.runtime.postgres.pool import Connection
from tests.conftest import MakeDatabase
from tests.support.builders.numbered_rows import NumberedSource, numbered, numbered_row
from tests.support.builders.published import ALLOCATOR, PRIMARY, VENDOR, VIEWER
from tests.support.drivers.exports import SMALL, ExportDriver, exporting
from tests.support.drivers.processes import ROOT
from tests.support.servers.token_issuer import Issuer

ACME = {"subscription": "sub-1"}
FORMATS = ("csv", "ndjson", "json", "xlsx", "parquet")
KILLS: tuple[Point, ...] = (
    "claimed",
    "part_stored",
    "part_saved",
    "part_stored",
    "part_saved",
    "claimed",
    "part_stored",
    "part_saved",
    "file_stored",
    "file_stored",
    "finished",
)
"""Where each process in turn is killed: between any two steps.

There are three parts and the file.
"""


@pytest.fixture
async def dsn(database: MakeDatabase) -> str:
    return await database("reporting")


@pytest.fixture
async def exports(dsn: str, shared_issuer: Issuer, tmp_path: Path) -> AsyncIterator[ExportDriver]:
    """Start reporting with a storage."""
    async with exporting(dsn, shared_issuer, tmp_path / "exports") as driver:
        yield driver


async def run_processes(
    exports: ExportDriver, dsn: str, *points: str, rows: int = 250, part_rows: int = 100
) -> tuple[list[int], list[int]]:
    """Run a worker's process for each point, and a last one.

    Return their exit codes and the most memory of each, in MB.
    """
    module = "tests.support.drivers.export_worker_process"
    now = exports.clock().isoformat()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, dsn, str(exports.folder), str(rows), str(part_rows), now, *points),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    printed, _ = await asyncio.wait_for(process.communicate(), 100)
    ends = json.loads(printed.decode().splitlines()[-1])
    return [code for code, _ in ends], [memory for _, memory in ends]


@pytest.mark.parametrize("format", FORMATS)
async def test_a_worker_killed_between_any_two_steps_makes_the_same_bytes(
    exports: ExportDriver, dsn: str, format: str
) -> None:
    whole = await exports.queue(PRIMARY, params=ACME, format=format, as_of="2026-02-01T00:00:00Z")
    assert (await run_processes(exports, dsn))[0] == [0]
    exports.clock.move(minutes=11)
    killed = await exports.queue(PRIMARY, params=ACME, format=format, as_of="2026-02-01T00:00:00Z")
    assert killed != whole
    exports.clock.move(minutes=-11)
    await exports.rows("UPDATE exports SET retry_at = $1", exports.clock())
    assert (await run_processes(exports, dsn, *KILLS))[0] == [*[-signal.SIGKILL] * len(KILLS), 0]
    shown = await exports.shown(killed, PRIMARY)
    assert (shown["state"], shown["rows_done"]) == ("succeeded", 250)
    assert (await exports.file(killed, PRIMARY)).content == (await exports.file(whole, PRIMARY)).content
    parts = await exports.rows("SELECT number, rows FROM export_parts WHERE export = $1 ORDER BY number", killed)
    assert parts == [{"number": 1, "rows": 100}, {"number": 2, "rows": 100}, {"number": 3, "rows": 50}]
    exports.clock.move(hours=1)
    await exports.clean()
    assert len([one for one in exports.stored() if one.startswith(killed)]) == 1, "what killed workers left is deleted"


async def test_a_worker_that_was_taken_for_dead_changes_nothing(exports: ExportDriver) -> None:
    export = await exports.queue(PRIMARY, params=ACME)
    other = exports.worker(numbered(250))

    class _Slow(NumberedSource):
        async def read(self, connection: Connection, position: Position | None, limit: int) -> Step:
            step = await super().read(connection, position, limit)
            if position is not None and int(position) >= 150 and not took_over:
                took_over.append(True)
                exports.clock.move(minutes=2)
                assert await other.work_on_one(), "its lease has ended"
            return step

    took_over: list[bool] = []
    assert await exports.worker(lambda _: _Slow(250)).work_on_one()
    shown = await exports.shown(export, PRIMARY)
    assert (shown["state"], shown["rows_done"]) == ("succeeded", 250)
    parts = await exports.rows("SELECT number, rows FROM export_parts ORDER BY number")
    assert [one["rows"] for one in parts] == [100, 100, 50], "the second part is there once"
    assert len((await exports.file(export, PRIMARY)).text.splitlines()) == 251


async def test_a_lease_is_extended_while_a_slow_part_is_made(exports: ExportDriver) -> None:
    limits = replace(SMALL, lease=timedelta(seconds=0.4))
    extended = asyncio.Event()

    class _Slow(NumberedSource):
        async def read(self, connection: Connection, position: Position | None, limit: int) -> Step:
            before = await exports.rows("SELECT leased_until FROM exports")
            exports.clock.move(seconds=0.2)
            async with asyncio.timeout(10):
                while await exports.rows("SELECT leased_until FROM exports") == before:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            extended.set()
            return await super().read(connection, position, limit)

    export = await exports.queue(PRIMARY, params=ACME)
    await exports.worker(lambda _: _Slow(10), limits=limits).work_on_one()
    assert extended.is_set()
    assert (await exports.shown(export, PRIMARY))["state"] == "succeeded"


async def test_a_cancelled_export_stops_and_leaves_no_file(exports: ExportDriver) -> None:
    export = await exports.queue(PRIMARY, params=ACME)

    class _Cancelled(NumberedSource):
        async def read(self, connection: Connection, position: Position | None, limit: int) -> Step:
            if position is not None and int(position) >= 100:
                await exports.reporting.ask("DELETE", f"/v1/exports/{export}", PRIMARY)
            return await super().read(connection, position, limit)

    await exports.worker(lambda _: _Cancelled(250)).work_on_one()
    assert (await exports.shown(export, PRIMARY))["state"] == "cancelled"
    exports.clock.move(minutes=2)
    await exports.clean()
    assert exports.stored() == []
    assert not await exports.worker(numbered(250)).work_on_one()


async def test_a_worker_that_stops_releases_its_export(exports: ExportDriver) -> None:
    export = await exports.queue(PRIMARY, params=ACME)
    reading = asyncio.Event()

    class _Endless(NumberedSource):
        async def read(self, _connection: Connection, _position: Position | None, _limit: int) -> Step:
            reading.set()
            await asyncio.Event().wait()
            raise AssertionError

    running = asyncio.create_task(exports.worker(lambda _: _Endless(1)).run())
    await asyncio.wait_for(reading.wait(), 10)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    (row,) = await exports.rows("SELECT state, lease, attempts FROM exports")
    assert row == {"state": "running", "lease": None, "attempts": 0}
    assert await exports.worker(numbered(1)).work_on_one(), "another goes on at once"
    assert (await exports.shown(export, PRIMARY))["state"] == "succeeded"


async def test_people_take_turns_however_many_exports_each_has(exports: ExportDriver) -> None:
    async def fill(who: str, count: int) -> list[str]:
        return [
            await exports.queue(who, params=ACME, as_of=f"2026-02-01T00:00:{number:02d}Z") for number in range(count)
        ]

    many = await fill(PRIMARY, 12)
    exports.clock.move(seconds=1)
    few = await fill(VIEWER, 2)
    exports.clock.move(seconds=1)
    one = await fill(ALLOCATOR, 1)
    order = []
    worker = exports.worker(numbered(5))
    for _ in range(6):
        await worker.work_on_one()
        exports.clock.move(seconds=1)
        done = await exports.rows("SELECT id FROM exports WHERE state = 'succeeded' ORDER BY finished_at")
        order = [row["id"] for row in done]
    whose = [("many" if one in many else "few" if one in few else "one") for one in order]
    assert whose == ["many", "few", "one", "many", "few", "many"]
    assert one[0] in order


async def test_three_exports_of_a_person_are_made_at_a_time_and_others_are_not_delayed(exports: ExportDriver) -> None:
    for number in range(5):
        await exports.queue(PRIMARY, params=ACME, as_of=f"2026-02-01T00:00:{number:02d}Z")
    go_on = asyncio.Event()

    class _Waiting(NumberedSource):
        async def read(self, connection: Connection, position: Position | None, limit: int) -> Step:
            await go_on.wait()
            return await super().read(connection, position, limit)

    workers = [exports.worker(lambda _: _Waiting(5)) for _ in range(5)]
    working = [asyncio.create_task(one.work_on_one()) for one in workers]
    async with asyncio.timeout(10):
        while sum(one.done() for one in working) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert [one.result() for one in working if one.done()] == [False, False], "two workers have nothing to do"
    assert await exports.rows("SELECT count(*) FROM exports WHERE state = 'running'") == [{"count": 3}]
    await exports.queue(VIEWER, params=ACME)
    assert await exports.worker(numbered(5)).work_on_one(), "another person's is made at once"
    go_on.set()
    assert await asyncio.gather(*(one for one in working if not one.done())) == [True, True, True]


async def test_a_long_export_lets_others_go_first_after_its_slice(exports: ExportDriver) -> None:
    long = await exports.queue(PRIMARY, params=ACME)
    limits = replace(SMALL, slice=timedelta(0))
    worker = exports.worker(numbered(250), limits=limits)
    await worker.work_on_one()
    assert (await exports.shown(long, PRIMARY))["rows_done"] == 100
    exports.clock.move(seconds=1)
    short = await exports.queue(VIEWER, params=ACME)
    for _ in range(3):
        await exports.worker(numbered(50), limits=limits).work_on_one() if _ == 0 else await worker.work_on_one()
        exports.clock.move(seconds=1)
    assert (await exports.shown(short, VIEWER))["state"] == "succeeded"
    assert (await exports.shown(long, PRIMARY))["state"] == "succeeded"
    assert len((await exports.file(long, PRIMARY)).text.splitlines()) == 251


class _BrokenStorage(FolderStorage):
    """A folder that fails while a file is written, after some bytes."""

    def __init__(self, folder: Path, error: Callable[[], Exception], is_broken: Callable[[], bool]) -> None:
        super().__init__(folder)
        self._error = error
        self._is_broken = is_broken

    def create(self, key: str) -> Any:
        if self._is_broken():
            raise self._error()
        return super().create(key)


async def test_an_export_goes_on_when_the_storage_is_back(exports: ExportDriver) -> None:
    export, calls = await exports.queue(PRIMARY, params=ACME), [0]

    def is_broken() -> bool:
        calls[0] += 1
        return 2 <= calls[0] <= 4

    storage = _BrokenStorage(exports.folder, lambda: StorageError("away"), is_broken)
    worker = exports.worker(numbered(250), storage=storage)
    for pause in (5, 10, 20):
        assert await worker.work_on_one()
        (row,) = await exports.rows("SELECT state, retry_at, rows_done FROM exports")
        assert (row["state"], row["rows_done"]) == ("queued", 100)
        assert row["retry_at"] - exports.clock() == timedelta(seconds=pause)
        assert not await worker.work_on_one(), "not before its pause is over"
        exports.clock.move(seconds=pause)
    assert await worker.work_on_one()
    assert (await exports.shown(export, PRIMARY))["state"] == "succeeded"
    assert len((await exports.file(export, PRIMARY)).text.splitlines()) == 251


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (StorageError("away"), "The place where exports are stored did not answer. Export it again later."),
        (StorageFullError("full"), "There is no space left where exports are stored. Ask the operators"),
    ],
)
async def test_an_export_fails_when_the_storage_stays_away(
    exports: ExportDriver, error: Exception, sentence: str
) -> None:
    export = await exports.queue(PRIMARY, params=ACME)
    storage = _BrokenStorage(exports.folder, lambda: error, lambda: True)
    worker = exports.worker(numbered(250), storage=storage)
    for _ in range(ATTEMPTS_MAX):
        assert await worker.work_on_one()
        exports.clock.move(minutes=5)
    shown = await exports.shown(export, PRIMARY)
    assert shown["state"] == "failed"
    assert shown["failure"].startswith(sentence)
    assert (await exports.file(export, PRIMARY)).status_code == 404
    await exports.clean()
    assert exports.stored() == []


async def test_rows_that_always_fail_cost_only_their_export(exports: ExportDriver) -> None:
    bad = await exports.queue(PRIMARY, params=ACME)
    exports.clock.move(seconds=1)
    good = await exports.queue(PRIMARY, params=ACME, format="json")

    def open_source(request: ReportRequest) -> Any:
        if request.as_of == exports_as_of[bad]:
            raise ZeroDivisionError
        return NumberedSource(50)

    rows = await exports.rows("SELECT id, as_of FROM exports")
    exports_as_of = {row["id"]: row["as_of"] for row in rows}
    worker = exports.worker(open_source)
    assert await worker.work_on_one()
    assert await worker.work_on_one()
    assert (await exports.shown(good, PRIMARY))["state"] == "succeeded"
    for _ in range(ATTEMPTS_MAX):
        exports.clock.move(minutes=5)
        await worker.work_on_one()
    failed = await exports.shown(bad, PRIMARY)
    assert failed["state"] == "failed"
    assert "was logged" in failed["failure"]


async def test_an_export_that_kills_its_worker_each_time_is_given_up(exports: ExportDriver, dsn: str) -> None:
    export = await exports.queue(PRIMARY, params=ACME)
    await run_processes(exports, dsn, *["claimed"] * ATTEMPTS_MAX)
    shown = await exports.shown(export, PRIMARY)
    assert shown["state"] == "failed"
    assert shown["failure"].startswith("It ended its worker each time.")


async def test_rows_that_never_end_fail_after_a_time(exports: ExportDriver) -> None:
    export = await exports.queue(PRIMARY, params=ACME)

    class _Hanging(NumberedSource):
        async def read(self, _connection: Connection, _position: Position | None, _limit: int) -> Step:
            await asyncio.Event().wait()
            raise AssertionError

    worker = exports.worker(lambda _: _Hanging(1), limits=replace(SMALL, hanging=timedelta(seconds=0.05)))
    for _ in range(ATTEMPTS_MAX):
        await worker.work_on_one()
        exports.clock.move(minutes=5)
    assert (await exports.shown(export, PRIMARY))["failure"].startswith("It took too long.")


async def test_large_rows_make_small_parts(exports: ExportDriver) -> None:
    limits: list[int] = []

    class _Large(NumberedSource):
        async def read(self, _connection: Connection, position: Position | None, limit: int) -> Step:
            limits.append(limit)
            start = int(position or 0)
            end = min(start + limit, 300)
            rows = [(*numbered_row(one)[:2], "x" * 200_000, *numbered_row(one)[3:]) for one in range(start, end)]
            return Step(rows, None if end == 300 else str(end))

    export = await exports.queue(PRIMARY, params=ACME)
    await exports.worker(lambda _: _Large(300), limits=replace(SMALL, part_rows=50_000, step_rows=5_000)).work_on_one()
    assert (await exports.shown(export, PRIMARY))["state"] == "succeeded"
    parts = [one["rows"] for one in await exports.rows("SELECT rows FROM export_parts ORDER BY number")]
    assert sum(parts) == 300
    assert max(parts) <= 170, "a part has at most 32 million characters, and a step more"
    assert limits[1] == 9, "a step has about two million characters"


async def test_files_that_cannot_be_deleted_are_retried_and_do_not_stop_others(exports: ExportDriver) -> None:
    bad, good = await exports.queue(PRIMARY, params=ACME), await exports.queue(VENDOR)
    worker = exports.worker(numbered(5))
    while await worker.work_on_one():
        pass
    folder, broken = exports.folder, [True]

    class _Stubborn(FolderStorage):
        def delete_all(self, prefix: str, except_for: str | None = None) -> None:
            if prefix.startswith(bad) and broken:
                raise StorageError("no")
            super().delete_all(prefix, except_for)

    exports.storage = _Stubborn(folder)
    exports.clock.move(days=8)
    await exports.clean()
    assert {one.split("/")[0] for one in exports.stored()} == {bad}
    assert good not in str(exports.stored())
    broken.clear()
    await exports.clean()
    assert exports.stored() != [], "it waits for a minute"
    exports.clock.move(minutes=1)
    await exports.clean()
    assert exports.stored() == []


@pytest.mark.parametrize("format", FORMATS)
async def test_the_memory_of_a_worker_is_bounded(exports: ExportDriver, dsn: str, format: str) -> None:
    export = await exports.queue(PRIMARY, params=ACME, format=format)
    codes, (memory,) = await run_processes(exports, dsn, rows=150_000, part_rows=PART_ROWS)
    assert codes == [0]
    assert (await exports.shown(export, PRIMARY))["rows_done"] == 150_000
    assert memory < 256
