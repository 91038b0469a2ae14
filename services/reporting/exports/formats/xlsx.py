"""XLSX: the rows on as many sheets as they need, and one that describes them.

xlsxwriter makes the workbook; the rows are written to its sheets as XML, since its own cells take twice the time.
"""

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Final

import pyarrow as pa
from xlsxwriter.exceptions import FileCreateError
from xlsxwriter.format import Format
from xlsxwriter.workbook import Workbook
from xlsxwriter.worksheet import Worksheet

from services.reporting.exports.formats.arrow_parts import ArrowPart, batches
from services.reporting.exports.formats.file_format import About, filters
from services.reporting.exports.formats.text_values import instant
from services.reporting.exports.formats.xlsx_cells import CELL_UNITS, CUT, Cells, escaped, text_row

SHEET_ROWS: Final = 1_048_576
"""Most rows of a sheet, its header included."""
ABOUT: Final = "About"
_NAME_LENGTH: Final = 28
"""Of a sheet's name, so that its number fits into the 31 that are allowed."""
_WIDTH: Final = 20


class _Style(Format):  # type: ignore[misc]
    """A style of cells. ``index``: how cells name it."""

    @property
    def index(self) -> int:
        return int(self._get_xf_index())


class _Book(Workbook):  # type: ignore[misc]
    """A workbook whose cells are written as XML.

    So they need the indexes of their styles.
    """

    def add_style(self, name: str, value: str | bool) -> int:
        """Add a style with one property, and return its index."""
        properties = {**self.default_format_properties, name: value}
        style = _Style(properties, self.xf_format_indices, self.dxf_format_indices)
        self.formats.append(style)
        return style.index


class _Sheet(Worksheet):  # type: ignore[misc]  # xlsxwriter has no types
    """A sheet of rows that are XML already. ``count``: how many it has."""

    count = 0

    def add(self, rows: str, count: int, columns: int) -> None:
        """Append rows."""
        self.fh.write(rows)
        self.count += count
        self.dim_rowmin, self.dim_rowmax = 0, self.count - 1
        self.dim_colmin, self.dim_colmax = 0, columns - 1


class XlsxFormat:
    """XLSX; ``sheet_rows``: most rows of a sheet."""

    def __init__(self, sheet_rows: int = SHEET_ROWS) -> None:
        self._sheet_rows = sheet_rows

    def begin_part(self, about: About, sink: IO[bytes]) -> ArrowPart:
        """Begin a part."""
        return ArrowPart(about, sink)

    def assemble(self, about: About, parts: Iterable[IO[bytes]], sink: IO[bytes], folder: Path | None) -> None:
        """Write the workbook.

        Its sheets are temporary files in ``folder`` until all rows are written.
        """
        with tempfile.TemporaryDirectory(prefix="unitpool-export-", dir=folder) as temporary:
            options = {
                "constant_memory": True,
                "tmpdir": temporary,
                "strings_to_formulas": False,
                "strings_to_urls": False,
                "strings_to_numbers": False,
            }
            book = _Book(sink, options)
            book.use_zip64()
            book.set_properties({"title": about.report.title, "created": about.made_at.replace(tzinfo=None)})
            _Writer(about, book, self._sheet_rows).write(batches(parts))
            try:
                book.close()
            except FileCreateError as error:  # what xlsxwriter makes of a full disk
                raise (error.args[0] if isinstance(error.args[0], Exception) else error) from error


class _Writer:
    def __init__(self, about: About, book: _Book, sheet_rows: int) -> None:
        self._about = about
        self._book = book
        self._sheet_rows = sheet_rows
        self._heading = book.add_style("bold", True)
        self._columns = about.report.columns
        instants = book.add_style("num_format", "yyyy-mm-dd hh:mm:ss")
        days = book.add_style("num_format", "yyyy-mm-dd")
        self._cells = Cells(self._columns, instants, days)
        self._sheets: list[_Sheet] = []

    def write(self, all_of_them: Iterator[pa.RecordBatch]) -> None:
        rows = 0
        sheet = self._begin_sheet()
        for batch in all_of_them:
            rows += batch.num_rows
            while batch.num_rows:
                if sheet.count == self._sheet_rows:
                    sheet = self._begin_sheet()
                some = batch.slice(0, self._sheet_rows - sheet.count)
                sheet.add(self._cells.rows(some, sheet.count + 1), some.num_rows, len(self._columns))
                batch = batch.slice(some.num_rows)  # noqa: PLW2901  # what is left of it
        self._write_about(rows)

    def _begin_sheet(self) -> _Sheet:
        number = len(self._sheets) + 1
        name = self._about.report.id[:_NAME_LENGTH]
        sheet: _Sheet = self._book.add_worksheet(name if number == 1 else f"{name} {number}", worksheet_class=_Sheet)
        sheet.freeze_panes(1, 0)
        sheet.set_column(0, len(self._columns) - 1, _WIDTH)
        sheet.add(text_row(1, [escaped(one.name) for one in self._columns], self._heading), 1, len(self._columns))
        self._sheets.append(sheet)
        return sheet

    def _write_about(self, rows: int) -> None:
        sheet: _Sheet = self._book.add_worksheet(ABOUT, worksheet_class=_Sheet)
        sheet.set_column(0, 0, _WIDTH * 2)
        sheet.set_column(1, 2, _WIDTH * 3)
        for number, texts in enumerate(self._lines(rows), 1):
            sheet.add(text_row(number, [self._cells.text(one) for one in texts]), 1, 3)

    def _lines(self, rows: int) -> Iterator[tuple[str, ...]]:
        about, cut = self._about, self._cells.cut
        yield "Report", about.report.title
        yield "Covers", about.report.description
        yield "As of", instant(about.as_of)
        yield "Made at", instant(about.made_at)
        yield "Made by", about.made_by
        yield "Rows", str(rows)
        yield "Times", "UTC, to the millisecond"
        for name, value in filters(about).items():
            yield f"Filter: {name}", value
        if cut:
            texts = "1 text was" if cut == 1 else f"{cut} texts were"
            yield (
                "Cut",
                f"{texts} longer than the {CELL_UNITS} characters of a cell; each ends with {CUT!r}. "
                "The formats csv, ndjson, json and parquet contain them in full.",
            )
        yield ("",)
        yield "Column", "Type", "Description"
        for column in self._columns:
            yield column.name, column.type, column.description
