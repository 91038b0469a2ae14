"""supervisord as the demo's process manager.

This module has its configuration, its start and its stop. supervisord restarts programs that die. It ends with the
launcher and its programs end with it, so no program is left when the launcher is killed.
"""

import contextlib
import hashlib
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
import xmlrpc.client
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from supervisor.xmlrpc import SupervisorTransport  # type: ignore[import-untyped]

from deploy.local import secret, tether
from deploy.local.environment import clean_environment
from deploy.local.errors import LocalStackError, died_at_start, last_lines
from deploy.local.program import POLL_SECONDS, Program
from deploy.local.wait import Wait

_FAILED = frozenset({"BACKOFF", "FATAL", "EXITED"})
_GROUP = "services"
LONGEST_SOCKET_PATH = 100


@dataclass(frozen=True, slots=True)
class ProgramState:
    """The state of one program, as supervisord reports it."""

    name: str
    state: str
    pid: int
    exit_status: int
    started_at: int


class Supervisor:
    """One supervisord below ``root``.

    ``services`` are stopped together, before ``programs``.
    """

    def __init__(self, root: Path, programs: Sequence[Program], services: Sequence[Program]) -> None:
        self._root = root
        self._programs = {_slug(one.name): one for one in (*programs, *services)}
        self._services = {_slug(one.name) for one in services}
        self._socket = _socket_in(root)
        self._process: subprocess.Popen[bytes] | None = None
        self._first_pids: dict[str, int] = {}

    def launch(self) -> None:
        """Start supervisord without any program.

        Raises:
            LocalStackError: supervisord did not start.
        """
        configuration = self._root / "supervisord.conf"
        secret.write_private(configuration, self._configuration())
        self._socket.unlink(missing_ok=True)
        supervisord = (sys.executable, "-m", "supervisor.supervisord", "--nodaemon", "-c", str(configuration))
        with (self._root / "supervisord.log").open("wb") as output:
            self._process = subprocess.Popen(
                (
                    sys.executable,
                    "-I",
                    "-S",
                    tether.__file__,
                    "--parent",
                    str(os.getpid()),
                    "SIGTERM",
                    "--",
                    *supervisord,
                ),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=clean_environment(),
                start_new_session=True,
            )
        wait = Wait("the process manager")
        while not self._answers():
            if self._process.poll() is not None or wait.is_over():
                raise died_at_start("The process manager", self._process.poll(), self._root / "supervisord.log")
            time.sleep(POLL_SECONDS)

    def start_program(self, name: str) -> None:
        """Start a program without waiting for it."""
        self._first_pids.pop(self._programs[_slug(name)].name, None)
        self._call().startProcess(self._full(name), False)

    def is_ready(self, name: str) -> bool:
        """Whether a program is ready.

        Raises:
            LocalStackError: the program stopped while starting.
        """
        program = self._programs[_slug(name)]
        state = self._state_of(self._call().getProcessInfo(self._full(name)))
        if state.pid:
            self._first_pids.setdefault(program.name, state.pid)
        started_again = state.pid not in {0, self._first_pids.get(program.name)}
        if state.state in _FAILED or started_again:
            raise died_at_start(program.name, state.exit_status, program.log)
        return program.ready()

    def program_states(self) -> list[ProgramState]:
        """The states of all programs."""
        return [self._state_of(info) for info in self._call().getAllProcessInfo()]

    def has_died(self) -> bool:
        """Whether supervisord has ended."""
        return self._process is None or self._process.poll() is not None

    def log_of(self, name: str) -> Path:
        """The log of a program."""
        return self._programs[name].log

    def tail_of(self, name: str) -> str:
        """The last lines of a program's log."""
        return last_lines(self.log_of(name))

    def stop(self, timeout_seconds: float = 90) -> None:
        """Stop all programs in order: services, then Kafka, then PostgreSQL."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(timeout_seconds)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._process = None
        self._socket.unlink(missing_ok=True)

    def _answers(self) -> bool:
        try:
            return bool(self._call().getState()["statename"] == "RUNNING")
        except (OSError, xmlrpc.client.Error):
            return False

    def _call(self) -> Any:
        transport = SupervisorTransport(None, None, f"unix://{self._socket}")
        return xmlrpc.client.ServerProxy("http://localhost", transport).supervisor

    def _full(self, name: str) -> str:
        slug = _slug(name)
        return f"{_GROUP}:{slug}" if slug in self._services else slug

    @staticmethod
    def _state_of(info: Mapping[str, Any]) -> ProgramState:
        return ProgramState(info["name"], info["statename"], info["pid"], info["exitstatus"], info["start"])

    def _configuration(self) -> str:
        head = f"""\
[supervisord]
logfile={self._root}/supervisord-events.log
logfile_maxbytes=1MB
logfile_backups=1
pidfile={self._root}/supervisord.pid
childlogdir={self._root}
minfds=1024
silent=true
[unix_http_server]
file={self._socket}
chmod=0700
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
"""
        parts = [
            _section(slug, program, self._root / "supervisord.pid", 10 + index)
            for index, (slug, program) in enumerate(self._programs.items())
        ]
        group = (
            f"[group:{_GROUP}]\nprograms={','.join(sorted(self._services))}\npriority=900\n" if self._services else ""
        )
        return head + "".join(parts) + group


def _socket_in(root: Path) -> Path:
    """Return the path of supervisord's socket.

    It is in ``root``, or in a temporary folder if that path is too long.
    """
    socket = root / "supervisor.sock"
    if len(str(socket)) < LONGEST_SOCKET_PATH - len(".12345"):  # supervisord first creates it under a longer name
        return socket
    return Path(tempfile.gettempdir()) / f"unitpool-{hashlib.sha256(str(root).encode()).hexdigest()[:12]}.sock"


def _slug(name: str) -> str:
    return name.lower().replace(" ", "-")


def _section(slug: str, program: Program, pid_file: Path, priority: int) -> str:
    variables = ",".join(f'{name}="{_escaped(value)}"' for name, value in program.environment.items())
    program.log.parent.mkdir(parents=True, exist_ok=True)
    return f"""\
[program:{slug}]
command={_escaped(shlex.join(program.tethered(str(pid_file))))}
directory={_escaped(str(program.folder))}
environment={variables}
autostart=false
autorestart=true
startsecs=2
startretries=20
stopsignal={program.stop_signal.name.removeprefix("SIG")}
stopwaitsecs={int(program.stop_seconds)}
redirect_stderr=true
stdout_logfile={_escaped(str(program.log))}
stdout_logfile_maxbytes=20MB
stdout_logfile_backups=1
priority={priority}
"""


def _escaped(text: str) -> str:
    """Escape a value for supervisord, which expands ``%`` and ends a value at a quote."""
    if '"' in text or "\n" in text:
        raise LocalStackError(f"a setting with a quote or line break cannot be passed on: {text[:20]}...")
    return text.replace("%", "%%")


def stop_left_over(root: Path) -> None:
    """Stop the supervisord that a killed launcher left.

    It is left on systems other than Linux, as only Linux ends it with its parent.
    """
    with contextlib.suppress(OSError, ValueError, psutil.NoSuchProcess, psutil.TimeoutExpired):
        process = psutil.Process(int((root / "supervisord.pid").read_text()))
        if str(root / "supervisord.conf") in process.cmdline():
            process.terminate()
            process.wait(60)
