"""The database's time, from answers with a delay."""

import asyncio
from typing import Any, cast

import pytest

from shared.runtime.postgres.database_clock import DatabaseClock


class Machine:
    """The clocks of a machine, set by the test."""

    def __init__(self) -> None:
        self.wall, self.monotonic = 1000.0, 50.0

    def passes(self, seconds: float) -> None:
        """Advance both clocks."""
        self.wall += seconds
        self.monotonic += seconds


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture
async def clock(machine: Machine) -> DatabaseClock:
    return DatabaseClock(
        cast("Any", None), tolerated_seconds=5, wall=lambda: machine.wall, monotonic=lambda: machine.monotonic
    )


def answer(clock: DatabaseClock, machine: Machine, database: float, took: float = 0.0) -> None:
    clock.take(database, machine.monotonic, machine.wall, took)
    machine.passes(took)


@pytest.mark.parametrize(
    ("answered", "offset", "shown"),
    [
        ((1000.0, 0.0), 0.0, 1000.0),
        ((1000.2, 0.5), 0.0, 1000.5),  # the difference is within the answer's delay, so it may be 0
        ((1000.5, 0.5), 0.0, 1000.5),
        ((1001.0, 0.5), -0.5, 1001.0),
        ((995.0, 0.0), 5.0, 995.0),
        ((994.0, 1.0), 6.0, 995.0),
    ],
)
async def test_the_offset_follows_from_the_answer_and_its_delay(
    clock: DatabaseClock, machine: Machine, answered: tuple[float, float], offset: float, shown: float
) -> None:
    answer(clock, machine, *answered)
    assert clock.offset_seconds == pytest.approx(offset)
    assert clock().timestamp() == pytest.approx(shown, abs=1e-5)
    assert clock.agrees == (abs(offset) <= 5)


async def test_the_time_is_unchanged_and_a_line_logged_when_the_machines_clock_is_set(
    clock: DatabaseClock, machine: Machine
) -> None:
    answer(clock, machine, 1000.0)
    machine.wall += 45 * 86400
    machine.passes(1)
    assert clock().timestamp() == pytest.approx(1001.0, abs=1e-5)
    answer(clock, machine, 1001.0)
    assert not clock.agrees
    check = await clock.check()
    assert not check.ok
    assert "3888000.000 s ahead of the database's" in check.detail
    waiting = asyncio.create_task(clock.wait())
    await asyncio.sleep(0)
    assert not waiting.done()
    machine.wall -= 45 * 86400
    answer(clock, machine, 1001.0)
    await waiting
    assert (await clock.check()).ok


async def test_the_check_fails_when_the_machines_clock_is_behind(clock: DatabaseClock, machine: Machine) -> None:
    answer(clock, machine, 1006.0, 0.5)
    assert not clock.agrees
    assert clock.offset_seconds == pytest.approx(-5.5)
    assert "behind" in (await clock.check()).detail
