"""NDJSON and JSON: each row an object with the columns' names as members.

A decimal is a string, as a reader would round a number.
"""

import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Final

import msgspec

from services.reporting.domain.reports.columns import Column, Row
from services.reporting.exports.formats.file_format import About, filters
from services.reporting.exports.formats.text_values import TEXTS, convert_columns, each, instant

BUFFER_BYTES: Final = 1024 * 1024
_encode: Final = msgspec.json.Encoder().encode


class _JsonPart:
    """``separator``: between two rows.

    ``is_closed``: whether one follows the last, too.
    """

    def __init__(self, about: About, sink: IO[bytes], separator: bytes, *, is_closed: bool) -> None:
        self._names = [column.name for column in about.report.columns]
        # msgspec writes instants and days itself, and a decimal with an exponent where ``str`` does.
        self._converters = [each(TEXTS["decimal"]) if one.type == "decimal" else None for one in about.report.columns]
        self._sink = sink
        self._separator = separator
        self._is_closed = is_closed
        self._began = False

    def write(self, rows: Sequence[Row]) -> None:
        if not rows:
            return
        columns = convert_columns(rows, self._converters)
        objects = [dict(zip(self._names, one, strict=True)) for one in zip(*columns, strict=True)]
        text = self._separator.join(map(_encoded, objects))
        before = self._separator if self._began and not self._is_closed else b""
        self._began = True
        self._sink.write(before + text + (self._separator if self._is_closed else b""))

    def close(self) -> None:
        """Write nothing: a part has no end."""


def _encoded(row: Mapping[str, object]) -> bytes:
    try:
        return _encode(row)
    except UnicodeEncodeError:  # a half of a surrogate pair, which must not fail the export
        return _encode(
            {
                name: one.encode("utf-8", "replace").decode() if isinstance(one, str) else one
                for name, one in row.items()
            }
        )


class NdjsonFormat:
    """NDJSON: an object a line, each line with its end."""

    def begin_part(self, about: About, sink: IO[bytes]) -> _JsonPart:
        """Begin a part: its lines."""
        return _JsonPart(about, sink, b"\n", is_closed=True)

    def assemble(self, _about: About, parts: Iterable[IO[bytes]], sink: IO[bytes], _folder: Path | None) -> None:
        """Write the parts."""
        for part in parts:
            shutil.copyfileobj(part, sink, BUFFER_BYTES)


class JsonFormat:
    """JSON: one object, which says what it is about, and has the ``rows``."""

    def begin_part(self, about: About, sink: IO[bytes]) -> _JsonPart:
        """Begin a part: its objects, separated."""
        return _JsonPart(about, sink, b",\n", is_closed=False)

    def assemble(self, about: About, parts: Iterable[IO[bytes]], sink: IO[bytes], _folder: Path | None) -> None:
        """Write what the file is about, then the rows of all parts that have some."""
        sink.write(_head(about)[:-1] + b',"rows":[\n')
        began = False
        for part in parts:
            first = part.read(BUFFER_BYTES)
            if not first:
                continue
            sink.write(b",\n" + first if began else first)
            began = True
            shutil.copyfileobj(part, sink, BUFFER_BYTES)
        sink.write(b"\n]}\n")


def _head(about: About) -> bytes:
    return _encode(
        {
            "report": about.report.id,
            "as_of": instant(about.as_of),
            "made_at": instant(about.made_at),
            "filters": filters(about),
            "columns": [_described(column) for column in about.report.columns],
        }
    )


def _described(column: Column) -> dict[str, str | bool]:
    return {
        "name": column.name,
        "type": column.type,
        "nullable": column.nullable,
        "description": column.description,
    }
