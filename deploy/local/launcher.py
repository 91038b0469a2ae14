"""``make demo``: run the stack with demo data until a signal comes.

Failures are reported.
"""

import asyncio
import signal
import time

from deploy.local.demo.run import run_demo
from deploy.local.errors import LocalStackError
from deploy.local.layout import Layout
from deploy.local.lock import DemoLock
from deploy.local.stack import Stack
from deploy.local.supervision import ProgramState, Supervisor, stop_left_over

WATCH_SECONDS = 1.0


class Progress:
    """Printer of progress lines with the seconds since the start."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def __call__(self, line: str) -> None:
        """Print one line."""
        print(f"[{time.monotonic() - self._began:6.1f} s] {line}", flush=True)


async def launch(layout: Layout, *, with_data: bool = True) -> None:
    """Run the stack until a signal comes, then stop all of its programs.

    Raises:
        LocalStackError: the stack cannot start.
        ExceptionGroup: of ``LocalStackError``: the process manager was killed, or the main account cannot be loaded.
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
    """Report each program that died or was started again, until cancelled.

    Raises:
        LocalStackError: the process manager has ended.
    """
    before: dict[str, ProgramState] = {}
    while True:
        if supervisor.has_died():
            raise LocalStackError("The process manager was killed, and everything with it.")
        states = {one.name: one for one in supervisor.program_states()}
        for name, now in states.items():
            was = before.get(name)
            if was is not None and (was.pid, was.state) != (now.pid, now.state):
                _report_change(supervisor, was, now, say)
        before = states
        await asyncio.sleep(WATCH_SECONDS)


def _report_change(supervisor: Supervisor, was: ProgramState, now: ProgramState, say: Progress) -> None:
    if now.state == "FATAL":
        say(f"{now.name} failed to restart. Its log is {supervisor.log_of(now.name)}. Its last lines:")
        say(supervisor.tail_of(now.name))
    elif was.pid and now.pid and was.pid != now.pid:
        say(f"{now.name} died (process {was.pid}) and was started again (process {now.pid})")
    elif now.state == "BACKOFF":
        say(f"{now.name} stopped while starting and is started again. Its log is {supervisor.log_of(now.name)}")
