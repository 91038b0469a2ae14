"""Waits of the local stack.

They have no limit by default, lines of progress, and a limit by variable.
"""

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from deploy.local import commands, wait
from deploy.local.commands import new_ingest_key
from deploy.local.errors import LocalStackError
from deploy.local.layout import Layout, Ports
from deploy.local.ports import free_port
from deploy.local.program import Program, Running
from deploy.local.wait import VARIABLE, Wait

KEY = (200, {"id": "k-1", "key": "upk_secret"})
PENDING = (202, {"command": "c-1", "status": "pending"})
BUSY = (503, {"code": "unavailable", "detail": "later"})


@contextmanager
def answering(layout: Layout, *answers: tuple[int, object]) -> Iterator[list[str]]:
    """An API that gives these answers in turn, then the last one again.

    It yields the idempotency keys that it received.
    """
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            status, body = answers[min(len(asked), len(answers) - 1)]
            asked.append(self.headers["Idempotency-Key"])
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body if isinstance(body, bytes) else json.dumps(body).encode())

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    server = HTTPServer(("127.0.0.1", layout.ports.reporting), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield asked
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    monkeypatch.setattr(commands, "RETRY_SECONDS", 0.01)
    return Layout(tmp_path, Ports(reporting=free_port()))


def test_an_ingest_key_is_returned_when_the_commands_outcome_is_known(layout: Layout) -> None:
    with answering(layout, PENDING, BUSY, PENDING, KEY) as asked:
        assert new_ingest_key(layout, "scan") == "upk_secret"
    assert len(asked) == 4
    assert len(set(asked)) == 1, "one command"


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ((404, {"code": "not_found", "detail": "There is no such product."}), "There is no such product."),
        ((200, {"id": "k-1"}), "key was not created"),
        ((500, b"<html>"), "500 <html>"),
    ],
)
def test_the_answer_is_in_the_error_when_it_has_no_key(layout: Layout, answer: tuple[int, object], says: str) -> None:
    with answering(layout, PENDING, answer), pytest.raises(LocalStackError, match=says):
        new_ingest_key(layout, "scan")


def test_an_ingest_key_fails_at_once_when_no_demo_runs(layout: Layout) -> None:
    with pytest.raises(LocalStackError, match="is `make demo` running"):
        new_ingest_key(layout, "scan")


def test_a_wait_ends_when_the_limit_of_the_variable_is_exceeded(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "0.2")
    with answering(layout, PENDING) as asked, pytest.raises(LocalStackError, match="key was not created: 202"):
        new_ingest_key(layout, "scan")
    assert len(asked) > 1


@pytest.mark.parametrize("value", ["", "0", "soon"])
def test_a_wait_goes_on_with_progress_lines_when_it_has_no_limit(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv(VARIABLE, value)
    now, said = [0.0], list[str]()
    waiting = Wait("Kafka", said.append, clock=lambda: now[0])
    for _ in range(100):
        now[0] += 7
        assert not waiting.is_over("nothing")
    assert said[0] == "still waiting for Kafka, for 21 s: nothing"
    assert len(said) == 700 // 21


def test_a_start_fails_only_when_the_server_has_ended(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    looks = iter([False] * 30)
    lives = (sys.executable, "-c", "import time; time.sleep(600)")
    running = Running(Program("slow one", lives, tmp_path / "log", lambda: next(looks, True)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wait, "SAY_SECONDS", 0.2)
        running.start()
    running.stop()
    assert "still waiting for slow one" in capsys.readouterr().err
    dies = (sys.executable, "-c", "raise SystemExit(3)")
    with pytest.raises(LocalStackError, match="stopped while starting"):
        Running(Program("one that dies", dies, tmp_path / "log", lambda: False)).start()
