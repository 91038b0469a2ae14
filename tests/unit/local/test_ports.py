"""Free ports for servers of tests and benchmarks."""

import socket

import pytest

from deploy.local import ports
from deploy.local.errors import LocalStackError


def test_free_ports_differ_before_anything_listens() -> None:
    assert len({ports.free_port() for _ in range(50)}) == 50


def test_a_port_is_passed_over_when_a_program_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    taken, free = ports.free_port(), ports.free_port()
    monkeypatch.setattr(ports, "FREE_PORTS", (taken, free))
    monkeypatch.setattr(ports, "_given", set())
    with socket.create_server((ports.HOST, taken)):
        assert ports.free_port() == free
        with pytest.raises(LocalStackError, match="No port"):
            ports.free_port()
