"""Readers of exported files that are not text: Parquet and XLSX."""

import re
import zipfile
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Final
from xml.etree import ElementTree

from services.reporting.domain.reports.audit import AUDIT, COLUMNS
from services.reporting.verification.text_files import FileError, NotAnAuditFileError

_BATCH_ROWS: Final = 1000
_SHEET: Final = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
_LETTERS: Final = re.compile(r"[A-Z]+")
_ESCAPE: Final = re.compile(r"_x([0-9A-Fa-f]{4})_")
_EPOCH: Final = datetime(1899, 12, 30, tzinfo=UTC)
_AT: Final = COLUMNS.index("at")
_DAMAGED: Final = (zipfile.BadZipFile, ElementTree.ParseError, EOFError, KeyError, ValueError, IndexError)


def read_parquet(path: Path) -> Iterator[Mapping[str, object]]:
    """Yield the rows of a Parquet file.

    Raises:
        FileError: it is cut or damaged.
        NotAnAuditFileError: its columns are others.
    """
    import pyarrow as pa  # noqa: PLC0415  # large, and no other format needs it
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        with pq.ParquetFile(path) as file:
            if file.schema_arrow.names != list(COLUMNS):
                raise NotAnAuditFileError(f"its columns are not {', '.join(COLUMNS)}")
            for batch in file.iter_batches(batch_size=_BATCH_ROWS):
                yield from batch.to_pylist()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise FileError(f"truncated or damaged: {error}") from None


def read_xlsx(path: Path) -> Iterator[Mapping[str, object]]:
    """Yield the rows of a workbook as it was exported, from all its sheets.

    Raises:
        FileError: it is cut or damaged, or was saved again by another program.
        NotAnAuditFileError: its first sheet has other columns.
    """
    try:
        with zipfile.ZipFile(path) as book:
            sheets = sorted(
                (name for name in book.namelist() if name.startswith("xl/worksheets/sheet")),
                key=lambda name: int("".join(filter(str.isdigit, name))),
            )
            for place, name in enumerate(sheets):
                with book.open(name) as sheet:
                    rows = _rows(sheet)
                    if next(rows, {}) == dict(enumerate(COLUMNS)):
                        yield from ({name: _cell(row, at) for at, name in enumerate(COLUMNS)} for row in rows)
                    elif place == 0:
                        raise NotAnAuditFileError("its first sheet has other columns")
    except _DAMAGED as error:
        raise FileError(f"truncated or damaged: {error}") from None


def _rows(sheet: IO[bytes]) -> Iterator[dict[int, str | bool]]:
    """Yield the cells of each row by the number of their column."""
    for _, element in ElementTree.iterparse(sheet):  # noqa: S314  # expat limits what entities expand to
        if element.tag == f"{_SHEET}row":
            yield {_column(cell): _value(cell) for cell in element.iter(f"{_SHEET}c")}
            element.clear()


def _column(cell: "ElementTree.Element") -> int:
    letters = _LETTERS.match(cell.get("r", ""))
    number = 0
    for letter in letters[0] if letters else "":
        number = number * 26 + ord(letter) - ord("A") + 1
    return number - 1


def _value(cell: "ElementTree.Element") -> str | bool:
    match cell.get("t"):
        case "inlineStr":
            text = "".join(one.text or "" for one in cell.iter(f"{_SHEET}t"))
            return _ESCAPE.sub(lambda found: chr(int(found[1], 16)), text)
        case "b":
            return cell.findtext(f"{_SHEET}v") == "1"
        case None | "n":
            return cell.findtext(f"{_SHEET}v") or ""
        case other:
            raise ValueError(f"a cell has the type {other}, as if another program had saved the workbook")


def _cell(row: Mapping[int, str | bool], place: int) -> object:
    value = row.get(place)
    if place == _AT and isinstance(value, str):
        return _EPOCH + timedelta(days=float(value))
    return int(value) if AUDIT.columns[place].type == "integer" and isinstance(value, str) else value
