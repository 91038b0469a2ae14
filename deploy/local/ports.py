"""TCP ports of the loopback interface: find free ones, and check that given ones are free."""

import errno
import socket
from collections.abc import Mapping

from deploy.local.errors import LocalStackError

HOST = "127.0.0.1"


def free_port() -> int:
    """A port on which no process listens now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def is_taken(port: int) -> bool:
    """Whether a process listens on ``port``; a port in TIME_WAIT is not taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            if error.errno in {errno.EADDRINUSE, errno.EACCES}:
                return True
            raise
    return answers(port)


def answers(port: int) -> bool:
    """Whether a connection to ``port`` is accepted."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((HOST, port)) == 0


def require_free(wanted: Mapping[str, int]) -> None:
    """Check that the ports are free; ``wanted`` maps the name of each port's program to the port.

    Raises:
        LocalStackError: ports are taken; the message names each with its program.
    """
    taken = [f"{port} ({name})" for name, port in wanted.items() if is_taken(port)]
    if taken:
        ports = "port " + taken[0] if len(taken) == 1 else "ports " + ", ".join(taken)
        raise LocalStackError(f"Nothing was started: {ports} already in use by another program.")
