"""One demo at a time: a lock that the system lets go of however its holder ends, with the holder's process id in it."""

import fcntl
import os
import signal
import time
from pathlib import Path

import psutil

from deploy.local.errors import LocalStackError

STOP_SECONDS = 120


class DemoLock:
    """Held from ``take`` until this process ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def take(self) -> None:
        """Take it.

        Raises:
            LocalStackError: another demo of this checkout runs.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 32).decode().strip() or "unknown"
            os.close(descriptor)
            raise LocalStackError(
                f"A demo of this folder is running already (process {holder}); `make stop` stops it."
            ) from None
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        self._descriptor = descriptor


def holder(path: Path) -> int | None:
    """The process id of the demo that runs, if one does."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return int(os.read(descriptor, 32) or 0) or None
    finally:
        os.close(descriptor)
    return None


def stop_holder(path: Path) -> bool:
    """Stop the demo that holds the lock, and wait until it is gone; whether there was one.

    Raises:
        LocalStackError: it does not end.
    """
    pid = holder(path)
    if pid is None:
        return False
    if not any("deploy.local" in part for part in psutil.Process(pid).cmdline()):
        raise LocalStackError(f"Process {pid} holds {path} but is no demo; it was left alone.")
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    while holder(path) == pid:
        if time.monotonic() > deadline:
            raise LocalStackError(f"The demo (process {pid}) did not stop within {STOP_SECONDS} s.")
        time.sleep(0.1)
    return True
