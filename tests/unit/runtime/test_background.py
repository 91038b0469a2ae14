"""The loop of a background task: pauses, wake-ups, errors."""

import asyncio

import pytest

from shared.runtime.process.background import repeat, wait_until_set

DEADLINE_SECONDS = 5
LONG_SECONDS = 3600


async def test_a_pause_ends_when_the_event_is_set() -> None:
    woken, runs = asyncio.Event(), asyncio.Queue[int]()

    async def step() -> float:
        runs.put_nowait(1)
        return LONG_SECONDS

    task = asyncio.create_task(repeat(step, woken=woken))
    async with asyncio.timeout(DEADLINE_SECONDS):
        await runs.get()
        woken.set()
        await runs.get()
    task.cancel()


async def test_the_step_runs_again_when_the_event_is_set_during_the_step() -> None:
    woken, runs = asyncio.Event(), asyncio.Queue[int]()

    async def step() -> float:
        if runs.empty():
            woken.set()
        runs.put_nowait(1)
        return LONG_SECONDS

    task = asyncio.create_task(repeat(step, woken=woken))
    async with asyncio.timeout(DEADLINE_SECONDS):
        while runs.qsize() < 2:  # noqa: ASYNC110 - the queue is only counted
            await asyncio.sleep(0)
    task.cancel()


async def test_the_first_run_waits_when_it_is_to_come_later() -> None:
    runs = asyncio.Queue[int]()

    async def step() -> float:
        runs.put_nowait(1)
        return LONG_SECONDS

    loop = asyncio.get_running_loop()
    started = loop.time()
    task = asyncio.create_task(repeat(step, first_after_seconds=0.05))
    async with asyncio.timeout(DEADLINE_SECONDS):
        await runs.get()
    assert loop.time() - started >= 0.05
    task.cancel()


async def test_an_error_ends_the_loop_when_nothing_handles_it() -> None:
    async def step() -> float:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        await repeat(step)


async def test_the_step_is_retried_when_the_error_is_handled() -> None:
    errors: list[Exception] = []

    async def step() -> float:
        if len(errors) < 2:
            raise ConnectionError("away")
        raise ValueError("broken")

    def on_error(error: Exception) -> float:
        if not isinstance(error, ConnectionError):
            raise error
        errors.append(error)
        return 0

    with pytest.raises(ValueError, match="broken"):
        await repeat(step, on_error=on_error)
    assert len(errors) == 2


async def test_waiting_says_whether_the_event_was_set() -> None:
    event = asyncio.Event()
    assert not await wait_until_set(event, 0.01)
    event.set()
    assert await wait_until_set(event, DEADLINE_SECONDS)
