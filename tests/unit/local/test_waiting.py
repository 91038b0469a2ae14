"""The local stack on a slow machine: it waits as long as there is hope, says so, and gives up where it is told to."""

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from deploy.local import commands, patience
from deploy.local.commands import new_ingest_key
from deploy.local.errors import LocalStackError
from deploy.local.layout import Layout, Ports
from deploy.local.patience import VARIABLE, Patience
from deploy.local.ports import free_port
from deploy.local.program import Program, Running

KEY = (200, {"id": "k-1", "key": "upk_secret"})
PENDING = (202, {"command": "c-1", "status": "pending"})
BUSY = (503, {"code": "unavailable", "detail": "later"})


@contextmanager
def answering(layout: Layout, *answers: tuple[int, object]) -> Iterator[list[str]]:
    """An API that gives these answers, the last one for ever; the idempotency keys that it was asked with."""
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
            """Nothing."""

    server = HTTPServer(("127.0.0.1", layout.ports.reporting), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield asked
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    monkeypatch.setattr(commands, "AGAIN_SECONDS", 0.01)
    return Layout(tmp_path, Ports(reporting=free_port()))


def test_an_ingest_key_waits_for_the_commands_outcome(layout: Layout) -> None:
    with answering(layout, PENDING, BUSY, PENDING, KEY) as asked:
        assert new_ingest_key(layout, "scan") == "upk_secret"
    assert len(asked) == 4
    assert len(set(asked)) == 1, "one command"


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ((404, {"code": "not_found", "detail": "There is no such product."}), "There is no such product."),
        ((200, {"id": "k-1"}), "No key"),
        ((500, b"<html>"), "500 <html>"),
    ],
)
def test_an_answer_without_a_key_is_told(layout: Layout, answer: tuple[int, object], says: str) -> None:
    with answering(layout, PENDING, answer), pytest.raises(LocalStackError, match=says):
        new_ingest_key(layout, "scan")


def test_no_demo_is_told_at_once(layout: Layout) -> None:
    with pytest.raises(LocalStackError, match="is `make demo` running"):
        new_ingest_key(layout, "scan")


def test_the_limit_is_a_setting(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "0.2")
    with answering(layout, PENDING) as asked, pytest.raises(LocalStackError, match="No key: 202"):
        new_ingest_key(layout, "scan")
    assert len(asked) > 1


@pytest.mark.parametrize("value", ["", "0", "soon"])
def test_without_a_limit_it_waits_and_says_so(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv(VARIABLE, value)
    now, said = [0.0], list[str]()
    waiting = Patience("Kafka", said.append, clock=lambda: now[0])
    for _ in range(100):
        now[0] += 7
        assert not waiting.is_over("nothing")
    assert said[0] == "still waiting for Kafka, for 21 s: nothing"
    assert len(said) == 700 // 21


def test_a_server_is_waited_for_as_long_as_it_lives(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    looks = iter([False] * 30)
    lives = (sys.executable, "-c", "import time; time.sleep(600)")
    running = Running(Program("slow one", lives, tmp_path / "log", lambda: next(looks, True)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(patience, "SAY_SECONDS", 0.2)
        running.start()
    running.stop()
    assert "still waiting for slow one" in capsys.readouterr().err
    dies = (sys.executable, "-c", "raise SystemExit(3)")
    with pytest.raises(LocalStackError, match="stopped while starting"):
        Running(Program("one that dies", dies, tmp_path / "log", lambda: False)).start()
