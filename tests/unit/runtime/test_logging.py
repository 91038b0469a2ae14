"""Log lines: one JSON object each, with the bound ids, without secrets."""

import io
import json
import logging as standard_logging
from collections.abc import Iterator

import pytest
from pydantic import SecretStr

from shared.runtime.process import logging


@pytest.fixture
def output() -> Iterator[io.StringIO]:
    root = standard_logging.getLogger()
    handlers, level = root.handlers[:], root.level
    written = io.StringIO()
    logging.configure("metering", "INFO", written)
    yield written
    root.handlers[:], root.level = handlers, level


def lines(output: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in output.getvalue().splitlines()]


def test_a_line_has_time_level_service_event_and_bound_ids(output: io.StringIO) -> None:
    log = logging.get("metering")
    logging.bind(correlation_id="c-1", command_id="k-1")
    log.info("lot_purchased", units=5)
    logging.unbind("correlation_id", "command_id")
    log.info("later")
    first, second = lines(output)
    assert {name: first[name] for name in ("level", "service", "event", "correlation_id", "command_id", "units")} == {
        "level": "info",
        "service": "metering",
        "event": "lot_purchased",
        "correlation_id": "c-1",
        "command_id": "k-1",
        "units": 5,
    }
    assert str(first["ts"]).endswith("Z")
    assert "correlation_id" not in second


def test_no_secret_reaches_a_line(output: io.StringIO) -> None:
    logging.get("metering").warning(
        "tried postgresql://user:hunter2@db/x",
        password="hunter2",
        headers={"Authorization": "Bearer hunter2hunter2", "Accept": "text/plain"},
        key=SecretStr("hunter2"),
        note=["Bearer hunter2hunter2", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJodW50ZXIyIn0.c2ln"],
    )
    standard_logging.getLogger("some.library").warning("connect to amqp://user:hunter2@host failed")
    text = output.getvalue()
    assert "hunter2" not in text
    assert "eyJzdWIi" not in text
    assert "text/plain" in text


def test_lines_of_libraries_and_stack_traces_are_json(output: io.StringIO) -> None:
    try:
        int("broken")
    except ValueError:
        standard_logging.getLogger("uvicorn.error").exception("it failed")
    (line,) = lines(output)
    assert (line["event"], line["level"], line["service"]) == ("it failed", "error", "metering")
    assert "ValueError: invalid literal" in str(line["exception"])
