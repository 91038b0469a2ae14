"""TCP ports of the loopback interface: free ones for tests, and whether the fixed ones are taken."""

import errno
import socket
from collections.abc import Mapping

from deploy.local.errors import LocalStackError

HOST = "127.0.0.1"


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def is_taken(port: int) -> bool:
    """Whether somebody listens on ``port``; a port left over in TIME_WAIT is not taken."""
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
    """Refuse to start when any of the ports is taken.

    Raises:
        LocalStackError: naming each taken port and what it is for.
    """
    taken = [f"{port} ({name})" for name, port in wanted.items() if is_taken(port)]
    if taken:
        ports = "port " + taken[0] if len(taken) == 1 else "ports " + ", ".join(taken)
        raise LocalStackError(f"Nothing was started: {ports} already in use by another program.")
