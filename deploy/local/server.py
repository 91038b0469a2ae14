"""A server of the local stack that this process runs itself: what tests start, stop, kill and start again."""

import os
import signal
from abc import ABC, abstractmethod

from deploy.local.program import Program, Running


class Server(ABC):
    """``start``, ``stop``, ``kill`` and ``restart`` keep its data, its ports and its passwords."""

    _running: Running | None = None

    @abstractmethod
    def program(self) -> Program:
        """It as a program, what it needs made ready."""

    def start(self) -> None:
        """Start it and wait until it takes connections."""
        self._running = Running(self.program())
        self._running.start()

    def stop(self) -> None:
        """An orderly shutdown."""
        if self._running:
            self._running.stop()

    def kill(self) -> None:
        """SIGKILL to all of it."""
        if self._running:
            self._running.kill()

    def pause(self) -> None:
        """SIGSTOP: its connections stay open, and it answers nothing until ``resume``."""
        if self._running:
            os.kill(self._running.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after ``pause``."""
        if self._running:
            os.kill(self._running.pid, signal.SIGCONT)

    def restart(self) -> None:
        """Start again on the same data and ports, after ``kill`` or ``stop``, or stopping it first."""
        self.stop()
        self.start()
