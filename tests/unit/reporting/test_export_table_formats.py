"""Files of Parquet and XLSX, read back by other libraries."""

import io
import zipfile
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from python_calamine import CalamineWorkbook

from services.reporting.domain.reports.columns import Column
from services.reporting.exports.formats.parquet import ParquetFormat
from services.reporting.exports.formats.xlsx import XlsxFormat
from services.reporting.exports.formats.xlsx_cells import CELL_UNITS, CUT
from tests.support.builders.numbered_rows import COLUMNS, numbered_row
from tests.support.drivers.export_files import about, file_of

TEXT = (Column("text", "text", "A text.", nullable=True), Column("other", "text", "Another."))
ROWS = [numbered_row(number) for number in range(7)]


def book_of(content: bytes) -> dict[str, list[list[Any]]]:
    """The rows of a workbook's sheets."""
    book = CalamineWorkbook.from_filelike(io.BytesIO(content))
    return {name: book.get_sheet_by_name(name).to_python() for name in book.sheet_names}


def test_parquet_has_the_values_with_their_types() -> None:
    content = file_of(ParquetFormat(), about(COLUMNS), ROWS[:3], ROWS[3:])
    file = pq.ParquetFile(io.BytesIO(content))
    schema = file.schema_arrow
    assert schema.field("at").type == pa.timestamp("us", tz="UTC")
    assert schema.field("amount").type == pa.decimal128(38, 4)
    assert (schema.field("day").type, schema.field("number").type) == (pa.date32(), pa.int64())
    assert [schema.field(one.name).nullable for one in COLUMNS] == [one.nullable for one in COLUMNS]
    assert [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)] == [3, 4]
    assert file.metadata.row_group(0).column(0).compression == "ZSTD"
    assert [tuple(one.values()) for one in file.read().to_pylist()] == [tuple(row) for row in ROWS]
    assert schema.field("amount").metadata[b"description"] == b"An amount."


@pytest.mark.parametrize("parts", [(), ([],), ([], ROWS[:1], [])])
def test_parquet_may_have_few_rows_or_none(parts: tuple[list[Any], ...]) -> None:
    table = pq.read_table(io.BytesIO(file_of(ParquetFormat(), about(COLUMNS), *parts)))
    assert table.num_rows == sum(map(len, parts))
    assert table.column_names == [one.name for one in COLUMNS]


def test_the_same_rows_are_the_same_bytes() -> None:
    for written_as in (ParquetFormat(), XlsxFormat()):
        first, second = (file_of(written_as, about(COLUMNS), ROWS[:3], ROWS[3:]) for _ in range(2))
        assert first == second


def test_xlsx_has_the_values_and_says_what_it_is_about() -> None:
    book = book_of(file_of(XlsxFormat(), about(COLUMNS, subscription="sub-1"), ROWS[:3], ROWS[3:]))
    assert list(book) == ["numbers", "About"]
    header, *rows = book["numbers"]
    assert header == [one.name for one in COLUMNS]
    assert rows[1] == [
        1.0,
        "row 1",
        'a "quoted", text',
        0.125,
        datetime(2026, 1, 1, 0, 1),  # noqa: DTZ001
        date(2026, 1, 2),
        False,
    ]
    assert rows[3][2] == ""
    assert rows[4][3] == ""
    assert rows[6][5] == ""
    said = {row[0]: row[1] for row in book["About"] if row[0]}
    assert said["Report"] == "Numbers"
    assert said["Covers"] == "One row per number."
    assert (said["As of"], said["Made by"], said["Rows"]) == ("2026-02-20T03:00:00Z", "paula@acme.example", "7")
    assert said["Filter: subscription"] == "sub-1"
    assert said["amount"] == "decimal"
    assert "Cut" not in said


def test_a_sheet_that_is_full_is_continued_on_another() -> None:
    book = book_of(file_of(XlsxFormat(sheet_rows=4), about(COLUMNS), ROWS[:5], ROWS[5:]))
    assert list(book) == ["numbers", "numbers 2", "numbers 3", "About"]
    assert [[row[0] for row in rows] for name, rows in book.items() if name != "About"] == [
        ["number", 0, 1, 2],
        ["number", 3, 4, 5],
        ["number", 6],
    ]


def test_xlsx_without_rows_has_its_header() -> None:
    assert book_of(file_of(XlsxFormat(), about(COLUMNS), []))["numbers"] == [[one.name for one in COLUMNS]]


@given(
    st.lists(
        st.tuples(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20), st.just("x")),
        max_size=5,
    )
)
def test_any_text_comes_back_from_xlsx(rows: list[tuple[str, str]]) -> None:
    found = book_of(file_of(XlsxFormat(), about(TEXT), rows))["numbers"][1:]
    assert [row[0] for row in found] == [
        one.replace("\ufffe", "_xFFFE_").replace("\uffff", "_xFFFF_") for one, _ in rows
    ]


@pytest.mark.parametrize(
    "text", ["nul \0 here", "bell \x07", "a\rb", "<r>not rich</r>", "</t></is></c>", "&amp;", "_x0041_", "=1+1", "a\nb"]
)
def test_what_xml_forbids_does_not_break_the_sheet(text: str) -> None:
    content = file_of(XlsxFormat(), about(TEXT), [(text, "half \ud800 pair"), ("after", "it")])
    sheet = zipfile.ZipFile(io.BytesIO(content)).read("xl/worksheets/sheet1.xml")
    texts = [
        "".join(one.itertext())
        for one in ET.fromstring(sheet).iter()  # noqa: S314
        if one.tag.endswith("}is")
    ]
    assert len(texts) == 6
    escaped = text.replace("_x0041_", "_x005F_x0041_")
    escaped = escaped.replace("\0", "_x0000_").replace("\x07", "_x0007_").replace("\r", "_x000D_")
    assert texts[2] == escaped
    assert b"<f>" not in sheet, "no formula"
    assert book_of(content)["numbers"][2] == ["after", "it"]


@pytest.mark.parametrize("text", ["x" * 40_000, "🎉" * 20_000, "x" * 32_768])
def test_a_long_text_is_cut_with_a_mark_and_the_file_says_so(text: str) -> None:
    book = book_of(file_of(XlsxFormat(), about(TEXT), [(text, "x"), ("y" * CELL_UNITS, "🎉" * 16_383)]))
    cut, whole = book["numbers"][1][0], book["numbers"][2]
    assert cut.endswith(CUT)
    assert text.startswith(cut.removesuffix(CUT))
    assert CELL_UNITS - 1 <= len(cut.encode("utf-16-le")) // 2 <= CELL_UNITS
    assert whole == ["y" * CELL_UNITS, "🎉" * 16_383]
    (said,) = [row[1] for row in book["About"] if row[0] == "Cut"]
    assert said.startswith("1 text was longer than the 32767 characters of a cell")


@pytest.mark.parametrize(
    ("number", "cell"),
    [
        (2**53 - 1, "9007199254740991"),
        (-(10**15), "-1000000000000000"),
        (999_999_999_999_999, 999_999_999_999_999.0),
        (-5, -5.0),
        (0, 0.0),
    ],
)
def test_a_number_that_a_spreadsheet_would_round_is_a_text(number: int, cell: object) -> None:
    columns = (Column("n", "integer", "."), Column("d", "decimal", ".", nullable=True, scale=0))
    rows = [(number, Decimal(number)), (1, None)]
    assert book_of(file_of(XlsxFormat(), about(columns), rows))["numbers"][1:] == [[cell, cell], [1.0, ""]]


@given(st.datetimes(min_value=datetime(1950, 1, 1), max_value=datetime(2300, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001
def test_any_instant_is_within_a_millisecond(at: datetime) -> None:
    (_, (cell, _)) = book_of(file_of(XlsxFormat(), about((Column("a", "timestamp", "."), TEXT[1])), [(at, "x")]))[
        "numbers"
    ]
    if isinstance(cell, date) and not isinstance(cell, datetime):
        cell = datetime(cell.year, cell.month, cell.day)  # noqa: DTZ001
    assert abs(cell.replace(tzinfo=UTC) - at) <= timedelta(milliseconds=1)


def test_an_instant_before_the_calendar_of_spreadsheets_is_a_text() -> None:
    columns = (Column("at", "timestamp", "."), Column("day", "date", "."))
    rows = [
        (datetime(1899, 5, 1, tzinfo=UTC), date(1899, 5, 1)),
        (datetime(2026, 1, 1, 12, tzinfo=UTC), date(2026, 1, 1)),
    ]
    assert book_of(file_of(XlsxFormat(), about(columns), rows))["numbers"][1:] == [
        ["1899-05-01T00:00:00Z", "1899-05-01"],
        [datetime(2026, 1, 1, 12), date(2026, 1, 1)],  # noqa: DTZ001
    ]


def test_temporary_files_are_deleted_also_after_an_error(tmp_path: Path) -> None:
    file_of(XlsxFormat(), about(COLUMNS), ROWS, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(pa.ArrowInvalid):
        XlsxFormat().assemble(about(COLUMNS), iter([io.BytesIO(b"no Arrow")]), io.BytesIO(), tmp_path)
    assert list(tmp_path.iterdir()) == []
