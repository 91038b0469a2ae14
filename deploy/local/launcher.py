"""``make demo``: brings the stack up, loads the demo data, keeps usage flowing, watches; stops it all at the end."""

import asyncio
import signal
import time

from deploy.local.demo.run import run_demo
from deploy.local.errors import LocalStackError
from deploy.local.layout import Layout
from deploy.local.lock import DemoLock
from deploy.local.stack import Stack
from deploy.local.supervision import Standing, Supervisor, stop_left_over

WATCH_SECONDS = 1.0


class Progress:
    """Lines with the time that has passed since the start."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def __call__(self, line: str) -> None:
        """Print one."""
        print(f"[{time.monotonic() - self._began:6.1f} s] {line}", flush=True)


async def launch(layout: Layout, *, with_data: bool = True) -> None:
    """Run until a signal comes. Everything started is stopped in the end.

    Raises:
        LocalStackError: it cannot start, or cannot go on.
    """
    say = Progress()
    DemoLock(layout.lock).take()
    stop_left_over(layout.root)
    stack = Stack(layout, say)
    stack.check()
    task = asyncio.create_task(_serve(stack, layout, say, with_data=with_data))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        say("stopping")
    finally:
        await asyncio.to_thread(stack.stop)
        say("everything is stopped")


async def _serve(stack: Stack, layout: Layout, say: Progress, *, with_data: bool) -> None:
    await stack.start()
    if stack.supervisor is None:
        raise RuntimeError("the process manager is not started")
    async with asyncio.TaskGroup() as group:
        group.create_task(_watch(stack.supervisor, say))
        if with_data:
            group.create_task(run_demo(layout, stack.databases, say))
        else:
            say("the servers run; Ctrl-C stops them")


async def _watch(supervisor: Supervisor, say: Progress) -> None:
    """Tell when something died and was started again."""
    before: dict[str, Standing] = {}
    while True:
        if supervisor.has_died():
            raise LocalStackError("The process manager was killed, and everything with it.")
        now = {one.name: one for one in supervisor.standings()}
        for name, standing in now.items():
            was = before.get(name)
            if was is not None and (was.pid, was.state) != (standing.pid, standing.state):
                _tell(supervisor, was, standing, say)
        before = now
        await asyncio.sleep(WATCH_SECONDS)


def _tell(supervisor: Supervisor, was: Standing, standing: Standing, say: Progress) -> None:
    if standing.state == "FATAL":
        say(f"{standing.name} does not come up again. Its log is {supervisor.log_of(standing.name)}. Its last lines:")
        say(supervisor.tail_of(standing.name))
    elif was.pid and standing.pid and was.pid != standing.pid:
        say(f"{standing.name} died (process {was.pid}) and was started again (process {standing.pid})")
    elif standing.state == "BACKOFF":
        say(f"{standing.name} stopped while starting; it is tried again. Its log is {supervisor.log_of(standing.name)}")
