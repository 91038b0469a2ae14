"""A program of the local stack.

It has a command, a log, a check of readiness, and the signals that end it.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from deploy.local import tether
from deploy.local.errors import died_at_start
from deploy.local.wait import Wait

POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Program:
    """A program and how it is run.

    ``death_signal`` is sent to it when its parent has ended; ``user`` is the user it runs as if this process is root.
    """

    name: str
    command: tuple[str, ...]
    log: Path
    ready: Callable[[], bool]
    environment: Mapping[str, str] = field(default_factory=dict)
    user: str | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    death_signal: signal.Signals = signal.SIGKILL
    stop_seconds: float = 20
    folder: Path = Path("/")

    def tethered(self, parent: str) -> tuple[str, ...]:
        """Return the command, run so that it ends with ``parent``.

        ``parent`` is a process id, or the file that contains it.
        """
        user = ("--user", self.user) if self.user else ()
        return (
            sys.executable,
            "-I",
            "-S",
            tether.__file__,
            "--parent",
            parent,
            *user,
            self.death_signal.name,
            "--",
            *self.command,
        )


class Running:
    """A program started by this process, as in tests.

    The demo's programs are started by supervisord.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id of the running program."""
        if self._process is None:
            raise RuntimeError(f"{self.program.name} is not running")
        return self._process.pid

    def start(self) -> None:
        """Start the program and wait until it is ready.

        Raises:
            LocalStackError: it stopped, or was not ready in time; the message has the end of its log.
        """
        environment = {**os.environ, **self.program.environment}
        self.program.log.parent.mkdir(parents=True, exist_ok=True)
        with self.program.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.program.tethered(str(os.getpid())),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                cwd=self.program.folder,
                start_new_session=True,  # a Ctrl-C in the terminal must reach this process only
            )
        wait = Wait(f"{self.program.name} (its log is {self.program.log})")
        while not self.program.ready():
            exit_code = self._process.poll()
            if exit_code is not None or wait.is_over():
                self.kill()
                raise died_at_start(self.program.name, exit_code, self.program.log)
            time.sleep(POLL_SECONDS)

    def stop(self) -> None:
        """Stop the program with its stop signal; kill it if it does not end in time."""
        if self._process is None:
            return
        self._process.send_signal(self.program.stop_signal)
        try:
            self._process.wait(self.program.stop_seconds)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None

    def kill(self) -> None:
        """Kill the program and all its children as in a crash (SIGKILL).

        Returns when they have ended.
        """
        if self._process is None:
            return
        try:
            family = psutil.Process(self._process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            family = []
        self._process.kill()
        self._process.wait()
        for child in family:
            try:
                child.kill()
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(family, timeout=10)
        self._process = None
