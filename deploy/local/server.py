"""A server that runs as a child of this process.

Tests can stop, kill and restart it.
"""

import os
import signal
from abc import ABC, abstractmethod

from deploy.local.program import Program, Running


class Server(ABC):
    """A server that can be stopped, killed and restarted.

    Its data, ports and passwords survive this.
    """

    _running: Running | None = None

    @abstractmethod
    def program(self) -> Program:
        """Prepare the server's files; return the server as a program."""

    def start(self) -> None:
        """Start the server and wait until it accepts connections."""
        self._running = Running(self.program())
        self._running.start()

    def stop(self) -> None:
        """Shut the server down in order."""
        if self._running:
            self._running.stop()

    def kill(self) -> None:
        """Kill the server with all its processes (SIGKILL)."""
        if self._running:
            self._running.kill()

    def pause(self) -> None:
        """Pause the server (SIGSTOP).

        Connections stay open, and no request is answered until ``resume``.
        """
        if self._running:
            os.kill(self._running.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Resume the server after ``pause`` (SIGCONT)."""
        if self._running:
            os.kill(self._running.pid, signal.SIGCONT)

    def restart(self) -> None:
        """Start the server again on the same data and ports; stop it first if it runs."""
        self.stop()
        self.start()
