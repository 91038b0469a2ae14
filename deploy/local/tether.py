"""Run a program so that it ends with its parent.

The command is ``tether.py [options] SIGNAL -- program``.

Linux sends SIGNAL to the program when the process that started it has ended for any reason. Other systems cannot do so:
there the next ``make demo`` or ``make stop`` stops what a killed launcher left.

``--user USER``: the user to run the program as, if this process is root.
``--parent PID-or-file``: the expected parent; if the parent is another process, this one exits at once. Without the
option, a parent that ended before this process started is not noticed.

It runs before the packages are installed, so it imports the standard library only.
"""

import ctypes
import os
import pwd
import signal
import sys

_PR_SET_PDEATHSIG = 1


def _become(user: str) -> None:
    """Change from root to another user permanently.

    Nothing is done if this process is not root.
    """
    if os.geteuid() != 0:
        return
    entry = pwd.getpwnam(user)
    os.setgroups([])
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)
    os.environ["HOME"] = entry.pw_dir


def die_with_parent(death_signal: signal.Signals, parent: int) -> None:
    """Have Linux send ``death_signal`` to this process when its parent ends.

    Exit if ``parent`` has ended already. A change of user clears the setting, so that must happen before.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:  # it ended before prctl
        os._exit(1)


def _expected_parent(given: str) -> int:
    if given.isdigit():
        return int(given)
    with open(given) as file:  # noqa: PTH123 - importing pathlib would slow every start
        return int(file.read())


def main(arguments: list[str]) -> None:
    """Replace this process with the program."""
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
