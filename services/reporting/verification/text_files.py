"""Readers of exported files that are text: CSV, NDJSON and JSON.

They read a row at a time, whatever the size of the file.
"""

import csv
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from services.reporting.domain.reports.audit import COLUMNS

_END: Final = "\r\n"


class FileError(Exception):
    """A row cannot be read; the message says why."""


class NotAnAuditFileError(Exception):
    """The file is no exported audit log; the message says why."""


def read_csv(path: Path) -> Iterator[Mapping[str, object]]:
    """Yield the rows of a CSV file.

    Raises:
        FileError: a row is cut or damaged.
        NotAnAuditFileError: its header is another.
    """
    csv.field_size_limit(sys.maxsize)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = _Lines(file)
            rows = csv.reader(lines, strict=True)
            if next(rows, []) != list(COLUMNS):
                raise NotAnAuditFileError(f"its header is not {','.join(COLUMNS)}")
            for row in rows:
                if len(row) != len(COLUMNS) or not lines.is_ended:
                    raise FileError("truncated: the line is cut, or has another number of cells")
                yield dict(zip(COLUMNS, row, strict=True))
    except (csv.Error, UnicodeDecodeError) as error:
        raise FileError(f"truncated or damaged: {error}") from None


class _Lines:
    """The lines of a file. ``is_ended``: the last one that was read has its end."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self.is_ended = True

    def __iter__(self) -> Iterator[str]:
        for line in self._lines:
            self.is_ended = line.endswith(_END)
            yield line


def read_ndjson(path: Path) -> Iterator[Mapping[str, object]]:
    """Yield the rows of an NDJSON file.

    Raises:
        FileError: a row is cut or damaged.
    """
    for line in _lines(path):
        if not line.endswith("\n"):
            raise FileError("truncated: the line has no end")
        yield _object(line)


def read_json(path: Path) -> Iterator[Mapping[str, object]]:
    """Yield the rows of a JSON file, which has one a line.

    Raises:
        FileError: a row is cut or damaged.
        NotAnAuditFileError: it is that of another report.
    """
    lines = _lines(path)
    head = _object(next(lines, "").removesuffix("\n") + "]}")
    if head.get("report") != "audit":
        raise NotAnAuditFileError(f"it is the report {head.get('report')}")
    follows = False
    for line in lines:
        if line == "]}\n" and not follows:
            if next(lines, None) is not None:
                raise FileError("added: something stands after the end of the rows")
            return
        if line.strip():
            follows = line.endswith(",\n")
            yield _object(line.removesuffix("\n").removesuffix(","))
    raise FileError("truncated: the rows have no end")


def _lines(path: Path) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8", newline="\n") as file:
            yield from file
    except UnicodeDecodeError as error:
        raise FileError(f"damaged: {error}") from None


def _object(text: str) -> Mapping[str, object]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FileError(f"truncated or damaged: {error}") from None
    if not isinstance(value, dict):
        raise FileError("damaged: it is no object")
    return value
