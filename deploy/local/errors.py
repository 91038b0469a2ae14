"""Errors of the local stack, with messages for the person who started it."""

from pathlib import Path

SHOWN_LINES = 12
_FULL_DISK = ("No space left on device", "ENOSPC", "could not extend file")


class LocalStackError(Exception):
    """A failure that the user can act on.

    The message says all that is needed for that.
    """


def last_lines(log: Path, count: int = SHOWN_LINES) -> str:
    """The end of a log, indented, for a message; empty when there is none."""
    try:
        lines = log.read_text(errors="replace").splitlines()
    except OSError:
        return ""
    return "\n".join(f"    {line}" for line in lines[-count:])


def died_at_start(name: str, exit_code: int | None, log: Path) -> LocalStackError:
    """Return the error for a server that did not start.

    The message has the path and the last lines of its log. ``exit_code`` is None when the server runs and did not
    become ready in time.
    """
    tail = last_lines(log)
    how = "did not answer in time" if exit_code is None else f"stopped while starting (exit code {exit_code})"
    reason = " because the disk is full" if any(sign in tail for sign in _FULL_DISK) else ""
    shown = f" Its last lines:\n{tail}" if tail else ""
    return LocalStackError(f"{name} {how}{reason}. Its log is {log}.{shown}")
