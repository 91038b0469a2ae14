"""CSV (RFC 4180): UTF-8 without a byte order mark, CRLF, a header.

A value that is absent is an empty field.
"""

import csv
import io
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO, Final

from services.reporting.domain.reports.columns import Column, Row
from services.reporting.exports.formats.file_format import About
from services.reporting.exports.formats.text_values import TEXTS, ConvertColumn, convert_columns, each, instants

SPREADSHEET: Final = "spreadsheet"
FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""The beginnings of texts that a spreadsheet takes for formulas.

The last four are the full-width forms of the first.
"""
BUFFER_BYTES: Final = 1024 * 1024


class _CsvPart:
    def __init__(self, about: About, sink: IO[bytes]) -> None:
        is_guarded = about.parameters.get("flavour") == SPREADSHEET
        self._converters = [_converter(column, is_guarded=is_guarded) for column in about.report.columns]
        self._sink = sink

    def write(self, rows: Sequence[Row]) -> None:
        if rows:
            self._sink.write(_encoded(zip(*convert_columns(rows, self._converters), strict=True)))

    def close(self) -> None:
        """Write nothing: a part has no end."""


class CsvFormat:
    """CSV.

    The flavour ``spreadsheet`` puts ``'`` before texts that a spreadsheet would take for formulas.
    """

    def begin_part(self, about: About, sink: IO[bytes]) -> _CsvPart:
        """Begin a part: its rows without a header."""
        return _CsvPart(about, sink)

    def assemble(self, about: About, parts: Iterable[IO[bytes]], sink: IO[bytes], _folder: Path | None) -> None:
        """Write the header, then the parts."""
        sink.write(_encoded([[column.name for column in about.report.columns]]))
        for part in parts:
            shutil.copyfileobj(part, sink, BUFFER_BYTES)


def _guarded(text: str) -> str:
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text


def _converter(column: Column, *, is_guarded: bool) -> ConvertColumn | None:
    match column.type:
        case "text":
            return each(_guarded) if is_guarded else None
        case "integer":
            return None
        case "timestamp":
            return instants
        case _:
            return each(TEXTS[column.type])


def _encoded(rows: Iterable[Sequence[object]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    # A half of a surrogate pair has no UTF-8; it must not fail the export.
    return text.getvalue().encode("utf-8", "replace")
