"""The cells of a sheet as XML (ECMA-376, 18.3.1.4), a batch of rows at a time.

Texts stand in the cells themselves, so that a sheet is written in one pass.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from xml.sax.saxutils import escape

import pyarrow as pa
import pyarrow.compute as pc
from xlsxwriter.utility import xl_col_to_name

from services.reporting.domain.reports.columns import Column
from services.reporting.exports.formats.arrow_parts import plain
from services.reporting.exports.formats.text_values import TEXTS

CELL_UNITS: Final = 32_767
"""Most UTF-16 units of a cell's text, a limit of spreadsheets."""
CUT: Final = "… [cut]"
"""What a text ends with that was cut."""
EXACT_DIGITS: Final = 15
"""Digits that a spreadsheet's number holds; a number with more is written as text."""
_EPOCH_SERIAL: Final = 25_569.0
_FIRST_SERIAL: Final = 61.0
"""1 March 1900: before it, spreadsheets disagree about the calendar."""
_DAY_MICROSECONDS: Final = 86_400_000_000.0
_NOT_PLAIN: Final = r"[\x00-\x08\x0b-\x1f\x{fffe}\x{ffff}]|_x[0-9A-Fa-f]{4}_"
"""What XML forbids or a spreadsheet would read as an escape (RE2)."""
_ESCAPED: Final = re.compile("(?=_x[0-9A-Fa-f]{4}_)_")
_FORBIDDEN: Final = re.compile("[\x00-\x08\x0b-\x1f\ufffe\uffff]")


@dataclass(slots=True)
class Cells:
    """Writes rows of cells. ``cut``: how many texts were cut so far.

    The styles are indexes of the workbook's cell formats.
    """

    columns: Sequence[Column]
    instant_style: int
    day_style: int
    cut: int = field(default=0, init=False)

    def rows(self, batch: pa.RecordBatch, first: int) -> str:
        """Write a batch as rows; ``first`` is the number of its first row, from 1."""
        numbers = pc.cast(pa.array(range(first, first + batch.num_rows), pa.int64()), pa.string())
        cells = [
            self._column(column, values, _Place(xl_col_to_name(index), numbers))
            for index, (column, values) in enumerate(zip(self.columns, batch.columns, strict=True))
        ]
        return "".join(_joined('<row r="', numbers, '">', *cells, "</row>").to_pylist())

    def _column(self, column: Column, values: pa.Array, place: "_Place") -> pa.Array:
        match column.type:
            case "text":
                return place.texts(self._texts(values))
            case "integer":
                return _number_cells(values.to_pylist(), place)
            case "decimal":
                return _number_cells([None if one is None else plain(one) for one in values.to_pylist()], place)
            case "boolean":
                return place.values(pc.cast(pc.cast(values, pa.int8()), pa.string()), ' t="b"')
            case "timestamp":
                # Not safe: in some centuries the last microsecond is rounded, far below what a cell holds.
                microseconds = pc.cast(pc.cast(values, pa.int64()), pa.float64(), safe=False)
                days = pc.divide(microseconds, _DAY_MICROSECONDS)
                return _time_cells(column, values, days, place, self.instant_style)
            case "date":
                days = pc.cast(pc.cast(values, pa.int32()), pa.float64())
                return _time_cells(column, values, days, place, self.day_style)

    def _texts(self, values: pa.Array) -> pa.Array:
        longest = pc.max(pc.utf8_length(values)).as_py() or 0
        is_odd = longest > CELL_UNITS // 2 or pc.any(pc.match_substring_regex(values, _NOT_PLAIN)).as_py()
        if is_odd:
            return pa.array([None if one is None else self.text(one) for one in values.to_pylist()], pa.string())
        for char, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
            values = pc.replace_substring(values, char, entity)
        return values

    def text(self, text: str) -> str:
        """Write a text for a cell: cut if it is too long, and escaped."""
        if len(text) > CELL_UNITS // 2 and len(text.encode("utf-16-le")) // 2 > CELL_UNITS:
            self.cut += 1
            kept = text.encode("utf-16-le")[: (CELL_UNITS - len(CUT)) * 2].decode("utf-16-le", "ignore")
            text = kept + CUT
        return escaped(text)


def escaped(text: str) -> str:
    """Escape a text: what XML forbids becomes ``_xHHHH_`` (ECMA-376, 22.9.2.19)."""
    text = _FORBIDDEN.sub(lambda found: f"_x{ord(found[0]):04X}_", _ESCAPED.sub("_x005F_", text))
    return escape(text)


def text_row(number: int, texts: Iterable[str], style: int | None = None) -> str:
    """Write one row of texts, which are escaped already."""
    shown = "" if style is None else f' s="{style}"'
    cells = (
        f'<c r="{xl_col_to_name(index)}{number}"{shown} t="inlineStr"><is><t xml:space="preserve">{text}</t></is></c>'
        for index, text in enumerate(texts)
    )
    return f'<row r="{number}">{"".join(cells)}</row>'


@dataclass(frozen=True, slots=True)
class _Place:
    """The cells of one column in some rows."""

    letters: str
    numbers: pa.Array

    def values(self, texts: pa.Array, attributes: str) -> pa.Array:
        return _joined(f'<c r="{self.letters}', self.numbers, f'"{attributes}><v>', texts, "</v></c>")

    def texts(self, texts: pa.Array) -> pa.Array:
        begin = '" t="inlineStr"><is><t xml:space="preserve">'
        return _joined(f'<c r="{self.letters}', self.numbers, begin, texts, "</t></is></c>")


def _number_cells(numbers: Sequence[int | str | None], place: _Place) -> pa.Array:
    texts = pa.array([None if one is None else str(one) for one in numbers], pa.string())
    cells = place.values(texts, "")
    is_long = pa.array([one is not None and _digits(str(one)) > EXACT_DIGITS for one in numbers])
    return pc.if_else(is_long, place.texts(texts), cells) if pc.any(is_long).as_py() else cells


def _digits(number: str) -> int:
    return len(number) if len(number) <= EXACT_DIGITS else len(number.lstrip("-0.").replace(".", ""))


def _time_cells(column: Column, values: pa.Array, days: pa.Array, place: _Place, style: int) -> pa.Array:
    """``days``: since 1970, with their fraction."""
    serials = pc.add(days, _EPOCH_SERIAL)
    cells = place.values(pc.cast(serials, pa.string()), f' s="{style}"')
    is_early = pc.fill_null(pc.less(serials, _FIRST_SERIAL), False)
    if not pc.any(is_early).as_py():
        return cells
    texts = [None if one is None else TEXTS[column.type](one) for one in values.to_pylist()]
    return pc.if_else(is_early, place.texts(pa.array(texts, pa.string())), cells)


def _joined(*parts: Any) -> pa.Array:
    """Join texts and columns of texts.

    The result is empty where a column has no value.
    """
    return pc.fill_null(pc.binary_join_element_wise(*parts, ""), "")
