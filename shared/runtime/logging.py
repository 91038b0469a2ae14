"""Logs: one JSON object per line on standard output, with the ids that tie lines together, and never a secret."""

import logging
import re
import sys
from collections.abc import Mapping
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from shared.runtime.repeats import WINDOW_SECONDS, Repeats

MASK = "********"
Log = structlog.stdlib.BoundLogger

_SECRET_NAME = re.compile(
    r"(secret|passw|token|authori[sz]ation|cookie|credential|private_?key|command_?keys|api_?key)", re.I
)
_SECRET_TEXT = (
    (re.compile(r"(://[^/\s:@]*:)[^@\s]+(@)"), rf"\1{MASK}\2"),  # the password of a connection string
    (re.compile(r"\b(Bearer|Basic)\s+[A-Za-z0-9._~+/=-]{8,}"), rf"\1 {MASK}"),
    (re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_.-]+"), MASK),  # a JWT, JWS or JWE
)
_FIRST = ("ts", "level", "service", "event", "correlation_id", "command_id")
_QUIET = ("aiokafka", "asyncio", "httpx", "httpcore")


def configure(service: str, level: str = "INFO", output: TextIO | None = None) -> Log:
    """Route structlog and every library's logging through one JSON writer. The service's logger."""
    structlog.configure(
        processors=[*_shared(service), structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(output or sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_shared(service),
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                redact,
                structlog.processors.JSONRenderer(sort_keys=False, default=str),
            ],
        )
    )
    handler.addFilter(Repeats(_say_repeated))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "faststream"):
        logging.getLogger(name).handlers[:] = []
        logging.getLogger(name).propagate = True
    return get(service)


def _say_repeated(logger: str, event: str, times: int) -> None:
    get("repeats").info("repeated", logger=logger, repeated_event=event, times=times, within_seconds=WINDOW_SECONDS)


def get(name: str) -> Log:
    """A logger. Words of the event first, figures and ids as keyword arguments."""
    logger: Log = structlog.stdlib.get_logger(name)
    return logger


def bind(**ids: Any) -> None:
    """Add ids (``correlation_id``, ``command_id``) to every line of the present task, until ``unbind``."""
    structlog.contextvars.bind_contextvars(**{name: value for name, value in ids.items() if value is not None})


def unbind(*names: str) -> None:
    """Stop adding them."""
    structlog.contextvars.unbind_contextvars(*names)


def _shared(service: str) -> list[Processor]:
    def name_service(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        event["service"] = service
        event.pop("color_message", None)  # uvicorn's, for a terminal
        return event

    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
        name_service,
    ]


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """The second net behind ``SecretStr``: masks by name, and whatever looks like a secret."""
    names = [*(name for name in _FIRST if name in event), *(name for name in event if name not in _FIRST)]
    return {name: _redacted(name, event[name]) for name in names}


def _redacted(name: str, value: object) -> object:
    if _SECRET_NAME.search(name) and value is not None and not isinstance(value, (bool, int, float)):
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
