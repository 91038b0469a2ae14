"""Logs: one JSON object per line on standard output.

Lines have correlation ids and no secrets.
"""

import json
import logging
import re
import sys
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from shared.runtime.process.log_repeats import WINDOW_SECONDS, Repeats

MASK = "********"
Log = structlog.typing.FilteringBoundLogger

_SECRET_NAME = re.compile(
    r"(secret|passw|token|authori[sz]ation|cookie|credential|private_?key|command_?keys|api_?key)", re.I
)
_SECRET_TEXT = (
    (re.compile(r"(://[^/\s:@]*:)[^@\s]+(@)"), rf"\1{MASK}\2"),  # the password of a connection string
    (re.compile(r"\b(Bearer|Basic)\s+[A-Za-z0-9._~+/=-]{8,}"), rf"\1 {MASK}"),
    (re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_.-]+"), MASK),  # a JWT, JWS or JWE
)
_MAY_BE_SECRET = re.compile(r"://|Bearer|Basic|eyJ")
"""Matches every line whose text may hold a secret, also in JSON.

Only these are searched for secrets.
"""
_PLAIN = (str, int, float, type(None))
_encode = json.JSONEncoder(default=str).encode
_FIRST = ("ts", "level", "service", "event", "correlation_id", "command_id")
_QUIET = ("aiokafka", "asyncio", "httpx", "httpcore")


def configure(service: str, level: str = "INFO", output: TextIO | None = None) -> Log:
    """Route structlog and every library's logging to one JSON writer.

    Returns the service's logger.

    Our own lines bypass the standard library's logging, which costs five times as much as the line itself.
    """
    repeats = Repeats(_log_repeated)
    handler = logging.StreamHandler(output or sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), *_shared(service)],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                render,
            ],
        )
    )
    handler.addFilter(repeats)

    def hold_back(logger: _Output, method: str, event: EventDict) -> EventDict:
        if repeats.may_write(logger.name, str(event["event"]), logging.getLevelName(method.upper()), is_ours=True):
            return event
        raise structlog.DropEvent

    structlog.configure(
        processors=[hold_back, *_shared(service), structlog.processors.format_exc_info, render],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level)),
        logger_factory=lambda name="": _Output(name, handler),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "faststream"):
        logging.getLogger(name).handlers[:] = []
        logging.getLogger(name).propagate = True
    return get(service)


class _Output:
    """The output of one of our loggers.

    It writes to the stream that the standard library's handler uses too.
    """

    def __init__(self, name: str, handler: "logging.StreamHandler[TextIO]") -> None:
        self.name = name
        self._handler = handler

    def write(self, line: str) -> None:
        """Write a line at once.

        One that cannot be written is dropped, so that no work fails because of it.
        """
        with suppress(OSError, ValueError):
            self._handler.acquire()
            try:
                self._handler.stream.write(f"{line}\n")
                self._handler.flush()
            finally:
                self._handler.release()

    debug = info = warning = error = critical = write


def _log_repeated(logger: str, event: str, times: int) -> None:
    get("repeats").info("repeated", logger=logger, repeated_event=event, times=times, within_seconds=WINDOW_SECONDS)


def get(name: str) -> Log:
    """A logger: the event's name first, values as keyword arguments."""
    logger: Log = structlog.get_logger(name)
    return logger


def bind(**ids: Any) -> None:
    """Add ids to every line of the current task, until ``unbind``.

    The ids are ``correlation_id`` and ``command_id``; one that is ``None`` is not added.
    """
    structlog.contextvars.bind_contextvars(**{name: value for name, value in ids.items() if value is not None})


def unbind(*names: str) -> None:
    """Stop adding these ids."""
    structlog.contextvars.unbind_contextvars(*names)


def _shared(service: str) -> list[Processor]:
    def name_service(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        event["service"] = service
        event.pop("color_message", None)  # uvicorn's, for a terminal
        return event

    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
        name_service,
    ]


def render(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    """Render a line as JSON, with secrets masked.

    They are masked by field name and by pattern, in addition to ``SecretStr``.
    """
    line = {name: event.pop(name) for name in _FIRST if name in event} | dict(event)
    if not any(_is_secret(name) or not _is_plain(value) for name, value in line.items()):
        text = _encode(line)
        if not _MAY_BE_SECRET.search(text):
            return text
    return _encode({name: _redacted(name, value) for name, value in line.items()})


def _is_plain(value: object) -> bool:
    """Whether a value holds no named parts that would have to be masked."""
    return isinstance(value, _PLAIN) or (type(value) is list and all(type(inner) is str for inner in value))


@lru_cache(maxsize=1000)
def _is_secret(name: str) -> bool:
    return _SECRET_NAME.search(name) is not None


def _redacted(name: str, value: object) -> object:
    if _is_secret(name) and value is not None and not isinstance(value, (bool, int, float)):
        return MASK
    if isinstance(value, str):
        for pattern, replacement in _SECRET_TEXT:
            value = pattern.sub(replacement, value)
        return value
    if isinstance(value, Mapping):
        return {key: _redacted(str(key), inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_redacted(name, inner) for inner in value]
    return value
