"""What the local stack tells a person when it cannot go on."""

from pathlib import Path

SHOWN_LINES = 12
_FULL_DISK = ("No space left on device", "ENOSPC", "could not extend file")


class LocalStackError(Exception):
    """Something that whoever typed the command can act on. The message is the whole of what they need."""


def last_lines(log: Path, count: int = SHOWN_LINES) -> str:
    """The end of a log, indented, for a message; empty when there is none."""
    try:
        lines = log.read_text(errors="replace").splitlines()
    except OSError:
        return ""
    return "\n".join(f"    {line}" for line in lines[-count:])


def died_at_start(name: str, exit_code: int | None, log: Path) -> LocalStackError:
    """Say that a server did not come up, why as far as its log tells, and where the log is."""
    tail = last_lines(log)
    how = "did not answer in time" if exit_code is None else f"stopped while starting (exit code {exit_code})"
    reason = " because the disk is full" if any(sign in tail for sign in _FULL_DISK) else ""
    shown = f" Its last lines:\n{tail}" if tail else ""
    return LocalStackError(f"{name} {how}{reason}. Its log is {log}.{shown}")
