"""PDF files: what they show, odd texts, limits, and equal bytes."""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pypdfium2  # type: ignore[import-untyped]
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.reporting.domain.reports.catalogue import REPORTS
from services.reporting.domain.reports.columns import Row, Value
from services.reporting.domain.reports.definitions import Report
from services.reporting.domain.reports.product_utilisation import PRODUCT_UTILISATION
from services.reporting.domain.reports.subscription_summary import SUBSCRIPTION_SUMMARY
from services.reporting.exports.formats.file_format import ExportError
from services.reporting.exports.formats.pdf import MAX_ROWS, PdfFormat
from services.reporting.exports.formats.pdf_layouts import LAYOUTS
from services.reporting.exports.pdf import child, rendering
from services.reporting.exports.pdf.rendering import PdfError, render_pdf
from services.reporting.exports.pdf.texts import CUT, MARK, MAX_CHARACTERS, printable
from tests.support.drivers.export_files import AT, about, file_of

DOCUMENT = {
    "title": "A title",
    "description": "",
    "facts": [["A", "B"]],
    "bars": None,
    "windows": None,
    "columns": [{"title": "Text", "width": 1, "is_number": False}],
}
BLUE, PALE = (0x1F, 0x5F, 0xA8), (0x9D, 0xB7, 0xD5)
"""The colours of bars: of what is consumed, and of what is allocated."""


def row_of(report: Report, number: int, **given: Value) -> Row:
    """A row of a report, with a value in each column."""
    values: dict[str, Value] = {
        "integer": number * 100,
        "decimal": Decimal(number) / 2,
        "timestamp": AT + timedelta(days=number),
        "boolean": True,
    }
    return [given.get(one.name, values.get(one.type, f"{one.name} {number}")) for one in report.columns]


def pdf_of(report: Report, rows: Sequence[Row]) -> bytes:
    """The file of a report."""
    return file_of(PdfFormat(), replace(about(()), report=report, parameters={"subscription": "sub-1"}), rows)


def text_of(pdf: bytes) -> str:
    """The text of all pages, without the places where a word may be broken."""
    document = pypdfium2.PdfDocument(pdf)
    return "\n".join(page.get_textpage().get_text_range() for page in document).replace("\u200b", "")


def document_of(*texts: str) -> bytes:
    """A document with a table of these texts."""
    return render_pdf("report", json.dumps({**DOCUMENT, "rows": [[one] for one in texts]}), AT)


def area(pdf: bytes, colour: tuple[int, int, int]) -> int:
    """How many dots of a colour the first page has."""
    dots = pypdfium2.PdfDocument(pdf)[0].render(scale=1).to_numpy()[:, :, :3]
    return int((dots == colour[::-1]).all(axis=2).sum())


def test_each_report_that_is_offered_as_pdf_has_a_layout_of_its_columns() -> None:
    assert {one.id for one in REPORTS.values() if "pdf" in one.formats} == set(LAYOUTS)
    for report, layout in LAYOUTS.items():
        names = {column.name for column in REPORTS[report].columns}
        assert {layout.label, *layout.bars, *layout.windows, *(one.name for one in layout.columns)} <= names


def test_a_report_shows_what_it_covers_and_its_rows() -> None:
    text = text_of(pdf_of(PRODUCT_UTILISATION, [row_of(PRODUCT_UTILISATION, number) for number in range(1, 60)]))
    for shown in (
        "Utilisation of products",
        "2026-02-20T03:00:00Z",
        "paula@acme.example",
        "sub-1",
        "the largest 15 of 59",
    ):
        assert shown in text
    for number in range(1, 60):
        assert f"product_name {number}" in text
    assert "5,900 / 5,900" in text, "the largest bar has its numbers"
    assert text.count("Subscription Product Allocated") >= 2, "the heading is on each page of the table"


@pytest.mark.parametrize(("consumed", "share"), [(1000, 1.0), (500, 0.5), (0, 0.0)])
def test_the_bars_are_drawn_from_the_data(consumed: int, share: float) -> None:
    names = {f"window_{ago}": None for ago in range(1, 7)}
    row = row_of(PRODUCT_UTILISATION, 1, allocated=1000, consumed=consumed, **names)
    pdf = pdf_of(PRODUCT_UTILISATION, [row])
    assert area(pdf, BLUE) / area(pdf, PALE) == pytest.approx(share, abs=0.05)


def test_the_last_windows_are_columns() -> None:
    empty = row_of(PRODUCT_UTILISATION, 1, allocated=0, consumed=0, **{f"window_{ago}": None for ago in range(1, 7)})
    some = row_of(PRODUCT_UTILISATION, 1, allocated=0, consumed=0, **{f"window_{ago}": ago for ago in range(1, 7)})
    assert area(pdf_of(PRODUCT_UTILISATION, [empty]), BLUE) < 50, "the legend only"
    assert area(pdf_of(PRODUCT_UTILISATION, [some]), BLUE) > 1000


def test_reports_without_rows_and_with_odd_numbers() -> None:
    assert "There are none." in text_of(pdf_of(SUBSCRIPTION_SUMMARY, []))
    row = row_of(SUBSCRIPTION_SUMMARY, 1, unused=-1234567, cost=None, currency=None)
    assert "-1,234,567" in text_of(pdf_of(SUBSCRIPTION_SUMMARY, [row]))


def test_too_many_rows_are_refused() -> None:
    row = row_of(SUBSCRIPTION_SUMMARY, 1)
    with pytest.raises(ExportError, match="more than 2000 rows"):
        pdf_of(SUBSCRIPTION_SUMMARY, [row] * (MAX_ROWS + 1))


def test_the_same_data_is_the_same_bytes_and_other_data_is_not() -> None:
    rows = [row_of(PRODUCT_UTILISATION, number) for number in range(3)]
    first = pdf_of(PRODUCT_UTILISATION, rows)
    assert first == pdf_of(PRODUCT_UTILISATION, rows)
    assert first != pdf_of(PRODUCT_UTILISATION, rows[:2])
    assert b"pdfuaid:part>1<" in first, "it says that it is PDF/UA-1"


@pytest.mark.parametrize(
    "text", ["#panic()", "$x$", "*bold* _it_", '#import "x"', "\\u{41}", "= Heading", "`raw`", "@ref"]
)
def test_data_is_never_markup(text: str) -> None:
    assert text in text_of(document_of(text))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("smile 😀", "smile 😀"),
        ("party 🎉 日本", f"party {MARK} {MARK}{MARK}"),
        ("nul \0 bell \x07", f"nul {MARK} bell {MARK}"),
        ("private \ue000", f"private {MARK}"),
        ("half \ud800 pair", f"half {MARK} pair"),
        ("line\nbreak\ttab", "line break tab"),
    ],
)
def test_what_the_font_does_not_have_is_a_mark(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert shown in text_of(document_of(text))


def test_right_to_left_texts_are_shown() -> None:
    text = text_of(document_of("שלום", "مرحبا"))
    assert "שלום" in text or "םולש" in text
    assert MARK not in text


@pytest.mark.parametrize("text", ["x" * 40_000, "word " * 8_000, "🎉" * 40_000])
def test_a_long_text_is_cut_and_stays_on_the_page(text: str) -> None:
    shown = printable(text).replace("\u200b", "")
    assert (len(shown), shown.endswith(CUT)) == (MAX_CHARACTERS, True)
    document = pypdfium2.PdfDocument(document_of(text))
    for page in document:
        width = page.get_width()
        edges = [one.get_bounds() for one in page.get_objects()]
        assert max(right for _, _, right, _ in edges) <= width
    row = row_of(PRODUCT_UTILISATION, 1, product_name=text)
    assert CUT in text_of(pdf_of(PRODUCT_UTILISATION, [row])).replace("\r\n", "")


@settings(max_examples=25)
@given(st.lists(st.text(max_size=30), max_size=20))
def test_no_text_fails_a_document(texts: list[str]) -> None:
    assert document_of(*texts).startswith(b"%PDF-")


def test_an_error_of_the_template_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bad.typ").write_text('#panic("it is " + json(bytes(sys.inputs.data)).why)')
    (tmp_path / "glyph.typ").write_text(
        '#set document(title: "x")\n#set text(font: "DejaVu Sans", fallback: false)\n日'
    )
    monkeypatch.setattr(rendering, "TEMPLATES", tmp_path)
    with pytest.raises(PdfError, match="it is broken"):
        render_pdf("bad", '{"why": "broken"}', AT)
    with pytest.raises(PdfError, match="could not be displayed"):
        render_pdf("glyph", "{}", AT)


def test_a_document_that_takes_too_long_or_too_much_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "endless.typ").write_text(
        "#{ for a in range(100000) { for b in range(100000) { let c = calc.sin(a * b) } } }"
    )
    (tmp_path / "large.typ").write_text(
        "#{ let a = range(1000000)\n let b = range(400).map(n => a.map(x => x + n))\n b.len() }"
    )
    monkeypatch.setattr(rendering, "TEMPLATES", tmp_path)
    monkeypatch.setattr(rendering, "SECONDS", 1)
    with pytest.raises(PdfError, match="longer than 1 s"):
        render_pdf("endless", "{}", AT)
    monkeypatch.setattr(rendering, "SECONDS", 60)
    with pytest.raises(PdfError, match="exit code"):
        render_pdf("large", "{}", AT)


def test_the_child_imports_nothing_of_ours() -> None:
    done = subprocess.run(
        (sys.executable, "-I", "-X", "importtime", str(child.__file__)), input=b"", capture_output=True, check=False
    )
    assert b"services" not in done.stderr.replace(str(child.__file__).encode(), b"")


def test_an_instant_is_the_date_of_the_document() -> None:
    at = datetime(2025, 5, 6, 7, 8, 9, tzinfo=UTC)
    data = json.dumps({**DOCUMENT, "rows": []})
    assert b"2025-05-06" in render_pdf("report", data, at)
    assert render_pdf("report", data, at) != render_pdf("report", data, AT)
