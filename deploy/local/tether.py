"""Runs a program that ends when its parent ends, as another user if asked: ``tether.py [options] SIGNAL -- program``.

Linux sends SIGNAL to the program when the process that started it is gone, however that happened. Elsewhere there is
no such thing: what a killed launcher leaves behind is stopped by the next ``make demo`` or ``make stop``.
``--user USER``: whom to run it as when we are root. ``--parent PID-or-file``: who must still be our parent, or else we
end at once; without it, whoever is when we look, which may be too late.
Runs before anything of ours is imported, so it needs the standard library only.
"""

import ctypes
import os
import pwd
import signal
import sys

_PR_SET_PDEATHSIG = 1


def _become(user: str) -> None:
    """Give up root for good. Ordinary users stay who they are."""
    if os.geteuid() != 0:
        return
    entry = pwd.getpwnam(user)
    os.setgroups([])
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)
    os.environ["HOME"] = entry.pw_dir


def die_with_parent(death_signal: signal.Signals, parent: int) -> None:
    """Must come after a change of user, which clears it."""
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:  # it died before we asked
        os._exit(1)


def _expected_parent(given: str) -> int:
    if given.isdigit():
        return int(given)
    with open(given) as file:  # noqa: PTH123 - nothing but what is needed is imported here
        return int(file.read())


def main(arguments: list[str]) -> None:
    """Replaces this process with the program."""
    parent = os.getppid()
    while arguments[0] in {"--user", "--parent"}:
        option, value, *arguments = arguments
        if option == "--user":
            _become(value)
        else:
            parent = _expected_parent(value)
    death_signal, separator, *program = arguments
    if separator != "--" or not program:
        raise SystemExit("usage: tether.py [--parent PID|FILE] [--user USER] SIGNAL -- program [argument ...]")
    die_with_parent(signal.Signals[death_signal], parent)
    try:
        os.execv(program[0], program)  # noqa: S606 - replacing this process is the point
    except OSError as error:
        raise SystemExit(f"cannot run {program[0]}: {error.strerror}") from error


if __name__ == "__main__":
    main(sys.argv[1:])
