"""Start services quickly, by forking a process that has imported them.

A start is otherwise a second and a half of imports, and a test run has hundreds. What is forked is a process like any
other, with an environment and a log of its own, and runs the service's ``__main__`` as ``python -m`` does.
``tests/runtime``, the demo and the benchmarks start theirs without this.
"""

import gc
import importlib
import json
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deploy.local import tether

ROOT = Path(__file__).parents[3]


class Forked:
    """A forked process, with the part of ``subprocess.Popen`` that tests need."""

    def __init__(self, fork_server: "ForkServer", pid: int) -> None:
        self.pid = pid
        self._server = fork_server
        self._code: int | None = None

    def poll(self) -> int | None:
        """Return the exit code, or None while the process runs.

        A signal's code is its negative number.
        """
        if self._code is None:
            self._code = self._server.ask(poll=self.pid)
        return self._code

    def wait(self) -> int:
        """Wait for the end; return the exit code."""
        if self._code is None:
            self._code = self._server.ask(wait=self.pid)
        assert self._code is not None
        return self._code

    def send_signal(self, number: int) -> None:
        """Send a signal.

        The process id is not reused before ``poll`` has returned the exit code.
        """
        if self._code is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill the process (SIGKILL)."""
        self.send_signal(signal.SIGKILL)


class ForkServer:
    """A process from which one service is forked; the forked processes end with it."""

    def __init__(self, module: str) -> None:
        python = (sys.executable, "-m", __name__, module)
        self._process = subprocess.Popen(
            (sys.executable, "-I", "-S", tether.__file__, "SIGKILL", "--", *python),
            cwd=ROOT,
            env={name: value for name, value in os.environ.items() if not name.startswith("UNITPOOL_")},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def start(self, env: Mapping[str, str], log: Path | None) -> Forked:
        """Fork a process that writes to ``log``."""
        return Forked(self, self.ask(start=dict(env), log=str(log) if log else None))

    def ask(self, **request: Any) -> Any:
        """Send one request; return the answer."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, "the service could not be imported: see standard error"
        return json.loads(answer)

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()


_fork_servers: dict[str, ForkServer] | None = None


@contextmanager
def fork_servers() -> Iterator[None]:
    """Start services in this block by forking.

    The process of a service is created at the service's first start.
    """
    global _fork_servers  # noqa: PLW0603 - one per process, as the processes are
    made: dict[str, ForkServer] = {}
    _fork_servers = made
    try:
        yield
    finally:
        _fork_servers = None
        for fork_server in made.values():
            fork_server.close()


def fork_server_of(module: str) -> ForkServer | None:
    """Return the process to fork a service from, or None.

    None for modules of tests, and on systems where forking is not safe.
    """
    if _fork_servers is None or sys.platform != "linux" or not module.startswith("services."):
        return None
    if module not in _fork_servers:
        _fork_servers[module] = ForkServer(module)
    return _fork_servers[module]


def _serve() -> None:
    """Answer requests until the end; return in forked processes only."""
    for line in sys.stdin.buffer:
        request, answer = json.loads(line), None
        if "start" in request:
            parent, answer = os.getpid(), os.fork()
            if answer == 0:
                _become(request["start"], request["log"], parent)
                return
        elif "wait" in request:
            answer = os.waitstatus_to_exitcode(os.waitpid(request["wait"], 0)[1])
        else:
            ended, status = os.waitpid(request["poll"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if ended else None
        sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n")
        sys.stdout.buffer.flush()
    os._exit(0)


def _become(env: Mapping[str, str], log: str | None, fork_server: int) -> None:
    """Set the output, the environment and the parent of the forked process."""
    tether.die_with_parent(signal.SIGKILL, fork_server)
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644) if log else os.dup(2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.environ.clear()
    os.environ.update(env)


def _main(module: str) -> None:
    importlib.import_module(f"{module}.main")
    gc.freeze()  # the collector would copy the pages of all imported modules
    _serve()
    sys.argv[1:] = []
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _main(sys.argv[1])
