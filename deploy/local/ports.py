"""TCP ports of the loopback interface.

Free ones are found, and given ones are checked to be free.
"""

import errno
import random
import socket
from collections.abc import Mapping

from deploy.local.errors import LocalStackError

HOST = "127.0.0.1"


FREE_PORTS = range(20_000, 32_000)
"""Ports from which free ones are taken.

They are above the fixed ports, and below those that systems give to outgoing connections (Linux: from 32768 on).
"""
_given: set[int] = set()


def free_port() -> int:
    """Return a port of ``FREE_PORTS`` on which no program listens.

    The same one is never returned twice in a process. The system's own choice (port 0) would be a port that an outgoing
    connection may take before the server listens.

    Raises:
        LocalStackError: none is left.
    """
    for port in random.sample(FREE_PORTS, len(FREE_PORTS)):
        if port not in _given and not is_taken(port):
            _given.add(port)
            return port
    raise LocalStackError(f"No port from {FREE_PORTS[0]} to {FREE_PORTS[-1]} is free: end programs that listen there.")


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
    """Check that ports are free.

    ``wanted`` maps the name of each port's program to the port.

    Raises:
        LocalStackError: ports are taken; the message names each with its program.
    """
    taken = [f"{port} ({name})" for name, port in wanted.items() if is_taken(port)]
    if taken:
        ports = "port " + taken[0] if len(taken) == 1 else "ports " + ", ".join(taken)
        raise LocalStackError(f"Nothing was started: {ports} already in use by another program.")
