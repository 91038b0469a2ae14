"""The file lock that allows one demo per checkout.

The file contains the holder's process id.

The operating system releases the lock when the holder ends, also when it is killed.
"""

import fcntl
import os
import signal
import time
from pathlib import Path

import psutil

from deploy.local.errors import LocalStackError

STOP_SECONDS = 120


class DemoLock:
    """A lock that this process has from ``take`` until it ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def take(self) -> None:
        """Take the lock.

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
    """The process id of the running demo; None if no demo runs."""
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
    """Stop the running demo and wait until it has ended; return whether there was one.

    Raises:
        LocalStackError: the demo did not end in time, or the lock's holder is another program.
    """
    pid = holder(path)
    if pid is None:
        return False
    if not any("deploy.local" in part for part in psutil.Process(pid).cmdline()):
        raise LocalStackError(f"Process {pid} has locked {path} but is not a demo, so it was not stopped.")
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    while holder(path) == pid:
        if time.monotonic() > deadline:
            raise LocalStackError(f"The demo (process {pid}) did not stop within {STOP_SECONDS} s.")
        time.sleep(0.1)
    return True
