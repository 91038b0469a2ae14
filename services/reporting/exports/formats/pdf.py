"""PDF: charts and a table of a report whose rows are few."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, time
from decimal import Decimal
from pathlib import Path
from typing import IO, Final

import msgspec

from services.reporting.domain.reports.columns import Column, Value
from services.reporting.exports.formats.arrow_parts import ArrowPart, batches, plain
from services.reporting.exports.formats.file_format import About, ExportError, filters
from services.reporting.exports.formats.pdf_layouts import LAYOUTS, Layout
from services.reporting.exports.formats.text_values import instant
from services.reporting.exports.pdf.rendering import render_pdf
from services.reporting.exports.pdf.texts import shortened

MAX_ROWS: Final = 2_000
MAX_BARS: Final = 15
CELL_CHARACTERS: Final = 120
LABEL_CHARACTERS: Final = 60
_NUMBERS: Final = ("integer", "decimal")
_GROUP: Final = ","


Rows = Sequence[Mapping[str, Value]]


class PdfFormat:
    """PDF; only of reports with a layout, and up to ``MAX_ROWS`` rows."""

    def begin_part(self, about: About, sink: IO[bytes]) -> ArrowPart:
        """Begin a part."""
        return ArrowPart(about, sink)

    def assemble(self, about: About, parts: Iterable[IO[bytes]], sink: IO[bytes], _folder: Path | None) -> None:
        """Write the document.

        Raises:
            ExportError: there are too many rows.
            PdfError: it could not be made.
        """
        rows: list[Mapping[str, Value]] = []
        for batch in batches(parts):
            rows += batch.to_pylist()
            if len(rows) > MAX_ROWS:
                raise ExportError(
                    f"It has more than {MAX_ROWS} rows, which is too much for a PDF. "
                    "Choose one subscription or account, or another format."
                )
        sink.write(render_pdf("report", msgspec.json.encode(_document(about, rows)).decode(), about.made_at))


@dataclass(frozen=True, slots=True)
class _Bar:
    label: str
    values: Sequence[float]


@dataclass(frozen=True, slots=True)
class _Bars:
    title: str
    names: Sequence[str]
    rows: Sequence[_Bar]
    alt: str


@dataclass(frozen=True, slots=True)
class _Point:
    label: str
    value: float | None


@dataclass(frozen=True, slots=True)
class _Points:
    title: str
    points: Sequence[_Point]
    alt: str


@dataclass(frozen=True, slots=True)
class _Heading:
    title: str
    width: float
    is_number: bool


@dataclass(frozen=True, slots=True)
class _Document:
    """What the template ``report`` shows."""

    title: str
    description: str
    facts: Sequence[tuple[str, str]]
    bars: _Bars | None
    windows: _Points | None
    columns: Sequence[_Heading]
    rows: Sequence[Sequence[str]]


def _document(about: About, rows: Rows) -> _Document:
    layout = LAYOUTS[about.report.id]
    columns = {one.name: one for one in about.report.columns}
    facts = [("As of", instant(about.as_of)), ("Made at", instant(about.made_at)), ("Made by", about.made_by)]
    facts += [("Rows", f"{len(rows):{_GROUP}}"), *((f"Only {name}", text) for name, text in filters(about).items())]
    return _Document(
        title=about.report.title,
        description=about.report.description.replace("`", ""),
        facts=facts,
        bars=_bars(layout, rows),
        windows=_windows(layout, rows),
        columns=[_Heading(one.title, one.width, columns[one.name].type in _NUMBERS) for one in layout.columns],
        rows=[[_shown(columns[one.name], row[one.name]) for one in layout.columns] for row in rows],
    )


def _bars(layout: Layout, rows: Rows) -> _Bars | None:
    """Add up the rows of each label, and show the largest."""
    sums: dict[str, list[float]] = {}
    for row in rows:
        values = sums.setdefault(shortened(str(row[layout.label]), LABEL_CHARACTERS), [0] * len(layout.bars))
        for index, name in enumerate(layout.bars):
            values[index] += _number(row[name])
    if not sums:
        return None
    largest = sorted(sums.items(), key=lambda one: (-max(one[1]), one[0]))
    shown, more = largest[:MAX_BARS], len(largest) - MAX_BARS
    said = "; ".join(f"{label}: {', '.join(f'{value:g}' for value in values)}" for label, values in shown)
    return _Bars(
        title=layout.bars_title + (f", the largest {MAX_BARS} of {len(largest)}" if more > 0 else ""),
        names=[name.capitalize() for name in layout.bars],
        rows=[_Bar(label, values) for label, values in shown],
        alt=f"Bars of {', '.join(layout.bars)} for each name. {said}.",
    )


def _windows(layout: Layout, rows: Rows) -> _Points | None:
    """Add up what all rows consumed in each window."""
    if not layout.windows or not rows:
        return None
    points = []
    for place, name in enumerate(layout.windows):
        values = [_number(row[name]) for row in rows if row[name] is not None]
        ago = len(layout.windows) - place
        points.append(_Point("Last window" if ago == 1 else f"{ago} windows ago", sum(values) if values else None))
    said = "; ".join(f"{one.label}: {'none' if one.value is None else f'{one.value:g}'}" for one in points)
    return _Points("Units consumed in the last windows", points, f"Columns by window. {said}.")


def _number(value: Value) -> float:
    return float(value) if isinstance(value, int | Decimal) else 0.0


def _shown(column: Column, value: Value) -> str:
    match value:
        case None:
            text = ""
        case bool():
            text = "yes" if value else "no"
        case int():
            text = f"{value:{_GROUP}}"
        case Decimal():
            text = plain(value) if column.scale == 1 else f"{value:{_GROUP}.2f}"
        case datetime():
            text = f"{value:%Y-%m-%d}" if value.time() == time() else f"{value:%Y-%m-%d %H:%M}"
        case _:
            text = shortened(str(value), CELL_CHARACTERS)
    return text
