"""Readiness: each check runs once at a time.

None delays the answer beyond the limit.
"""

import asyncio
import gc
import time

import pytest
from aiokafka.errors import KafkaConnectionError
from structlog.testing import capture_logs

from shared.runtime.delivery.backoff import is_transient
from shared.runtime.process import health
from shared.runtime.process.background import BackgroundTask
from shared.runtime.process.health import Check, Health


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "CHECK_SECONDS", 0.1)


async def well() -> Check:
    return Check(ok=True, detail="well")


async def fails() -> Check:
    raise ZeroDivisionError("a bug")


async def test_other_checks_are_reported_when_one_fails_or_hangs() -> None:
    asked, release = 0, asyncio.Event()

    async def hangs() -> Check:
        nonlocal asked
        asked += 1
        try:
            await release.wait()
        except asyncio.CancelledError:
            await release.wait()  # as a driver that closes a connection to a server that hangs
        return Check(ok=True)

    checks = Health()
    for name, probe in (("well", well), ("fails", fails), ("hangs", hangs)):
        checks.add(name, probe)
    for _ in range(3):
        started = time.monotonic()
        report = await checks.report()
        assert time.monotonic() - started < 1
        assert [report[name].ok for name in ("well", "fails", "hangs")] == [True, False, False]
        assert "a bug" in report["fails"].detail
        assert "no answer within" in report["hangs"].detail
    assert asked == 1
    release.set()


async def test_a_check_runs_once_when_many_ask_at_the_same_time() -> None:
    gate = asyncio.Event()

    async def slow() -> Check:
        await gate.wait()
        return Check(ok=True)

    checks = Health()
    checks.add("slow", slow)
    checks.add("well", well)
    reports = [asyncio.create_task(checks.report()) for _ in range(5)]
    await asyncio.sleep(0.02)
    gate.set()
    assert all(one.ok for report in await asyncio.gather(*reports) for one in report.values())
    assert (await checks.report())["slow"].ok


async def test_no_stack_trace_is_logged_when_a_check_fails_too_late(
    caplog: pytest.LogCaptureFixture,
) -> None:
    gate = asyncio.Event()

    async def late() -> Check:
        await gate.wait()
        raise ConnectionError("the database is away")

    checks = Health()
    checks.add("late", late)
    assert "no answer within" in (await checks.report())["late"].detail
    gate.set()
    await asyncio.sleep(0)
    del checks
    gc.collect()
    await asyncio.sleep(0)
    assert "never retrieved" not in caplog.text


@pytest.mark.parametrize(
    ("error", "shared"), [(KafkaConnectionError("away"), True), (ConnectionRefusedError("away"), False)]
)
async def test_no_stack_trace_is_logged_when_a_task_has_a_transient_error(error: Exception, shared: bool) -> None:
    async def work() -> None:
        raise error

    task = BackgroundTask(
        "look", work, is_transient=is_transient, is_shared=lambda error: isinstance(error, KafkaConnectionError)
    )
    with capture_logs() as lines:
        running = asyncio.create_task(task.run())
        while not lines:  # noqa: ASYNC110 - the log says it in no other way
            await asyncio.sleep(0)
        running.cancel()
    assert (lines[0]["log_level"], "exc_info" in lines[0]) == ("warning", False)
    check = await task.check()
    assert (check.ok, check.shared) == (False, shared)
