"""Processes of services, which tests start, kill and stop."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from deploy.local import tether
from deploy.local.ports import free_port
from tests.support.drivers.fork_server import Forked, fork_server_of

ROOT = Path(__file__).parents[3]
COMMAND_KEYS = "test:dGVzdC1rZXktdGVzdC1rZXktdGVzdC1rZXktdGVzdC1rZXk="
"""The keys with which tests sign commands."""


class ServiceProcess:
    """A process of a service; it ends with the test run, also when that is killed."""

    def __init__(
        self,
        name: str,
        env: Mapping[str, str],
        *,
        module: str | None = None,
        command: str | None = None,
        log: Path | None = None,
    ) -> None:
        self.name = name
        self._command = () if command is None else (command,)
        self.port = int(env.get(f"UNITPOOL_{name.upper()}_HTTP_PORT") or free_port())
        self._module = module or f"services.{name}"
        self._env = {
            **{variable: value for variable, value in os.environ.items() if not variable.startswith("UNITPOOL_")},
            "UNITPOOL_COMMAND_KEYS": COMMAND_KEYS,
            **env,
            f"UNITPOOL_{name.upper()}_HTTP_PORT": str(self.port),
        }
        self.log = log
        self._process: subprocess.Popen[bytes] | Forked | None = None
        self.start()

    @property
    def pid(self) -> int:
        """The process id."""
        assert self._process is not None
        return self._process.pid

    @property
    def url(self) -> str:
        """The base URL of the service."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def exit_code(self) -> int | None:
        """The exit code; None while the process runs."""
        assert self._process is not None
        return self._process.poll()

    def start(self) -> None:
        """Start the process, or start it again after its end."""
        if not self._command and (fork_server := fork_server_of(self._module)):
            self._process = fork_server.start(self._env, self.log)
            return
        tied: tuple[str, ...] = (
            sys.executable,
            "-I",
            "-S",
            tether.__file__,
            "SIGKILL",
            "--",
            sys.executable,
            "-m",
            self._module,
        )
        tied += self._command
        output = self.log.open("ab") if self.log else None
        try:
            self._process = subprocess.Popen(
                tied, cwd=ROOT, env=self._env, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        finally:
            if output:
                output.close()

    async def run(self, command: str) -> str:
        """Run a command of the service beside the process; return its output."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", self._module, command), cwd=ROOT, env=self._env, stdout=asyncio.subprocess.PIPE
        )
        printed, _ = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode == 0, printed
        return printed.decode()

    async def wait_ready(self, timeout_seconds: float = 60) -> None:
        """Wait until the service is ready; fail with its last answer."""
        deadline = time.monotonic() + timeout_seconds
        last_answer: object = "nothing"
        async with httpx.AsyncClient() as client:
            while time.monotonic() < deadline:
                if self.exit_code is not None:
                    raise AssertionError(f"{self.name} ended with {self.exit_code}{self._tail()}")
                try:
                    answer = await client.get(f"{self.url}/readyz", timeout=5)
                except httpx.HTTPError as error:
                    last_answer = repr(error)
                else:
                    if answer.is_success and answer.json().get("status", "ready") == "ready":
                        return
                    last_answer = answer.text
                await asyncio.sleep(0.05)
        raise AssertionError(f"{self.name} was not ready within {timeout_seconds} s: {last_answer}{self._tail()}")

    async def readiness(self) -> dict[str, Any]:
        """The answer of ``/readyz``."""
        async with httpx.AsyncClient() as client:
            body: dict[str, Any] = (await client.get(f"{self.url}/readyz", timeout=10)).json()
            return body

    def kill(self) -> None:
        """Kill the process (SIGKILL), and wait until it has ended."""
        if self._process and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    async def terminate(self, timeout_seconds: float = 15) -> int:
        """Terminate the process (SIGTERM); return the exit code.

        Fails if it takes longer than the limit.
        """
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        return await self.wait_ended(timeout_seconds)

    async def wait_ended(self, timeout_seconds: float = 15) -> int:
        """Wait for the end of the process; return the exit code."""
        deadline = time.monotonic() + timeout_seconds
        while (code := self.exit_code) is None:
            if time.monotonic() > deadline:
                raise AssertionError(f"{self.name} did not end within {timeout_seconds} s{self._tail()}")
            await asyncio.sleep(0.02)
        return code

    def _tail(self) -> str:
        if self.log is None or not self.log.exists():
            return ""
        lines = self.log.read_text(errors="replace").splitlines()[-20:]
        return "\n" + "\n".join(lines)


def start_service(
    name: str,
    env: Mapping[str, str],
    *,
    module: str | None = None,
    command: str | None = None,
    log: Path | None = None,
) -> ServiceProcess:
    """Start ``python -m services.<name>`` (or ``module``) on a free port.

    ``env``: its environment; ``command``: one of the service, which runs until it is stopped. Output goes to ``log``.
    """
    return ServiceProcess(name, env, module=module, command=command, log=log)


def service_env(name: str, *, dsn: str, kafka: str, topic_prefix: str = "", **more: str) -> dict[str, str]:
    """Return the variables of a service in a test.

    ``more``: its own settings, as ``http_port="8001"``.
    """
    own = {f"UNITPOOL_{name.upper()}_{setting.upper()}": value for setting, value in more.items()}
    return {
        "UNITPOOL_KAFKA_BOOTSTRAP_SERVERS": kafka,
        "UNITPOOL_KAFKA_TOPIC_PREFIX": topic_prefix,
        "UNITPOOL_COMMAND_KEYS": COMMAND_KEYS,
        f"UNITPOOL_{name.upper()}_DATABASE_URL": dsn,
        f"UNITPOOL_{name.upper()}_SESSION_TIMEOUT_SECONDS": "2",
        **own,
    }
