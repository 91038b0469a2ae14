"""The filter of repeated log lines."""

import io
import json
import logging as standard_logging

import pytest

from shared.runtime.process import log_repeats, logging
from shared.runtime.process.log_repeats import Repeats


def record(name: str, level: int, message: object) -> standard_logging.LogRecord:
    return standard_logging.LogRecord(name, level, __file__, 1, message, ("figure",), None)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_repeated_line_is_written_a_few_times_and_counted() -> None:
    clock, reported = Clock(), list[tuple[str, str, int]]()
    filtered = Repeats(lambda *what: reported.append(what), clock)
    written = 0
    for second in range(600):
        clock.now = float(second)
        for _ in range(10):
            written += filtered.filter(record("aiokafka", standard_logging.ERROR, "no connection to %s"))
        filtered.filter(record("other", standard_logging.INFO, "hello"))
    assert written <= 3
    assert 9 <= len(reported) <= 10
    assert sum(times for *_, times in reported) + written <= 6000
    assert all(what[:2] == ("aiokafka", "no connection to %s") for what in reported)


def test_a_line_is_written_again_when_it_was_not_repeated_for_a_while() -> None:
    clock = Clock()
    filtered = Repeats(lambda *_: None, clock)
    line = record("aiokafka", standard_logging.ERROR, "away")
    assert [filtered.filter(line) for _ in range(5)] == [True, True, True, False, False]
    for minutes in (1.1, 2.3):
        clock.now = minutes * 60
        filtered.filter(record("x", standard_logging.INFO, "time passes"))
    assert filtered.filter(line)


def test_lines_below_warning_are_always_written() -> None:
    filtered = Repeats(lambda *_: None)
    assert all(filtered.filter(record("http", standard_logging.INFO, "request")) for _ in range(100))


def test_different_lines_are_written_with_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_repeats, "MAX_KEYS", 10)
    clock = Clock()
    filtered = Repeats(lambda *_: None, clock)
    for number in range(500):
        clock.now = number / 10
        assert filtered.filter(record("x", standard_logging.ERROR, f"line {number}"))
    clock.now = 100.0
    filtered.filter(record("x", standard_logging.INFO, "time passes"))
    assert len(filtered._windows) <= 10


def test_repeated_events_of_a_service_are_filtered() -> None:
    output = io.StringIO()
    log = logging.configure("metering", output=output)
    for number in range(100):
        log.warning("batch_retried", attempt=number)
    lines = [json.loads(line) for line in output.getvalue().splitlines()]
    assert [line["attempt"] for line in lines] == list(range(20))
