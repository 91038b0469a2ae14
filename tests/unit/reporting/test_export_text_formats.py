"""Files of CSV, NDJSON and JSON."""

import csv
import io
import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.reporting.domain.reports.columns import Column
from services.reporting.exports.formats.csv_file import CsvFormat
from services.reporting.exports.formats.json_files import JsonFormat, NdjsonFormat
from tests.support.builders.numbered_rows import COLUMNS, numbered_row
from tests.support.drivers.export_files import about, file_of

TEXT = (Column("text", "text", "A text.", nullable=True), Column("other", "text", "Another."))
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "\uff1d1", "\uff0b1", "\uff0d1", "\uff20x", "="]
HARMLESS = ["1=1", " =1", "a-b", "", "'=1", "*", "\ufe631", "§"]
INSTANTS = st.datetimes(
    min_value=datetime(1971, 1, 1),  # noqa: DTZ001
    max_value=datetime(2300, 1, 1),  # noqa: DTZ001
    timezones=st.just(UTC),
)


def read_csv(content: bytes) -> list[list[str]]:
    """The rows of a CSV file, with its header."""
    return list(csv.reader(io.StringIO(content.decode(), newline=""), strict=True))


@given(st.lists(st.tuples(ANY_TEXT, ANY_TEXT), max_size=8), st.integers(min_value=0, max_value=8))
def test_any_text_comes_back_from_csv(rows: list[tuple[str, str]], cut: int) -> None:
    content = file_of(CsvFormat(), about(TEXT), rows[:cut], rows[cut:])
    assert read_csv(content) == [["text", "other"], *map(list, rows)]
    assert content.endswith(b"\r\n")


def test_lines_end_with_cr_lf_and_values_are_written_in_full() -> None:
    rows = [numbered_row(number) for number in (2, 3, 4, 6, 1001)]
    assert file_of(CsvFormat(), about(COLUMNS), rows[:3], rows[3:]).decode().split("\r\n") == [
        "number,name,note,amount,at,day,even",
        "2,row 2,emoji 🎉 and שלום,0.25,2026-01-01T00:02:00Z,2026-01-03,true",
        "3,row 3,,0.375,2026-01-01T00:03:00.000001Z,2026-01-04,false",
        "4,row 4,=1+1,,2026-01-01T00:04:00Z,2026-01-05,true",
        "6,row 6,emoji 🎉 and שלום,0.75,2026-01-01T00:06:00Z,,true",
        '1001,row 1001,"a ""quoted"", text",125.125,2026-01-01T16:41:00.000001Z,2026-09-29,false',
        "",
    ]


@pytest.mark.parametrize("number", ["0E-9", "1E+10", "-0.5", "12345678901234567890123456789.123456789"])
def test_a_decimal_is_written_without_an_exponent(number: str) -> None:
    columns = (Column("n", "decimal", "A number."),)
    for written_as in (CsvFormat(), NdjsonFormat()):
        text = file_of(written_as, about(columns), [(Decimal(number),)]).decode()
        assert "E" not in text
        found = text.split("\r\n")[1] if isinstance(written_as, CsvFormat) else json.loads(text)["n"]
        assert Decimal(found) == Decimal(number)


@pytest.mark.parametrize("text", FORMULAS)
def test_a_text_that_begins_a_formula_is_guarded_for_spreadsheets_only(text: str) -> None:
    rows = [(text, "x")]
    assert read_csv(file_of(CsvFormat(), about(TEXT, flavour="spreadsheet"), rows))[1] == [f"'{text}", "x"]
    for raw in (about(TEXT), about(TEXT, flavour="raw")):
        assert read_csv(file_of(CsvFormat(), raw, rows))[1] == [text, "x"]


@pytest.mark.parametrize("text", HARMLESS)
def test_other_texts_are_not_guarded(text: str) -> None:
    assert read_csv(file_of(CsvFormat(), about(TEXT, flavour="spreadsheet"), [(text, "x")]))[1] == [text, "x"]


def test_numbers_are_never_guarded() -> None:
    columns = (Column("i", "integer", "."), Column("d", "decimal", "."))
    content = file_of(CsvFormat(), about(columns, flavour="spreadsheet"), [(-5, Decimal("-0.5"))])
    assert read_csv(content)[1] == ["-5", "-0.5"]


@pytest.mark.parametrize("format", [CsvFormat(), NdjsonFormat(), JsonFormat()])
def test_odd_characters_do_not_break_the_file(format: Any) -> None:
    content = file_of(format, about(TEXT), [("nul \0, bell \x07", "half \ud800 pair"), (None, "\u202eleft")])
    text = content.decode()
    assert "\u202e" in text
    assert "\ud800" not in text


@given(st.lists(st.tuples(st.none() | INSTANTS, INSTANTS), min_size=1, max_size=5))
def test_any_instant_comes_back(rows: list[tuple[datetime | None, datetime]]) -> None:
    columns = (Column("a", "timestamp", ".", nullable=True), Column("b", "timestamp", "."))
    found = read_csv(file_of(CsvFormat(), about(columns), rows))[1:]
    assert [(datetime.fromisoformat(a) if a else None, datetime.fromisoformat(b)) for a, b in found] == rows
    lines = file_of(NdjsonFormat(), about(columns), rows).decode().splitlines()
    assert [list(json.loads(one).values()) for one in lines] == [[a or None, b] for a, b in found]


def test_a_line_of_ndjson_is_an_object_with_the_names_of_the_columns() -> None:
    lines = file_of(NdjsonFormat(), about(COLUMNS), [numbered_row(1), numbered_row(4)], [], [numbered_row(6)])
    assert [json.loads(one) for one in lines.splitlines()] == [
        {
            "number": 1,
            "name": "row 1",
            "note": 'a "quoted", text',
            "amount": "0.125",
            "at": "2026-01-01T00:01:00.000001Z",
            "day": "2026-01-02",
            "even": False,
        },
        {
            "number": 4,
            "name": "row 4",
            "note": "=1+1",
            "amount": None,
            "at": "2026-01-01T00:04:00Z",
            "day": "2026-01-05",
            "even": True,
        },
        {
            "number": 6,
            "name": "row 6",
            "note": "emoji 🎉 and שלום",
            "amount": "0.75",
            "at": "2026-01-01T00:06:00Z",
            "day": None,
            "even": True,
        },
    ]
    assert lines.endswith(b"}\n")


@pytest.mark.parametrize("sizes", [(), (0,), (3,), (0, 3), (2, 0, 3, 0), (1, 1, 1, 5)])
def test_json_is_one_object_that_says_what_it_is_about(sizes: tuple[int, ...]) -> None:
    parts = [[numbered_row(number) for number in range(size)] for size in sizes]
    what = about(COLUMNS, subscription="sub-1", flavour="spreadsheet")
    document = json.loads(file_of(JsonFormat(), what, *parts))
    assert list(document) == ["report", "as_of", "made_at", "filters", "columns", "rows"]
    assert (document["report"], document["as_of"]) == ("numbers", "2026-02-20T03:00:00Z")
    assert document["filters"] == {"subscription": "sub-1"}
    assert [one["name"] for one in document["columns"]] == [column.name for column in COLUMNS]
    assert [row["number"] for row in document["rows"]] == [number for size in sizes for number in range(size)]


def test_a_file_without_rows_has_its_header() -> None:
    assert file_of(CsvFormat(), about(COLUMNS), []) == b"number,name,note,amount,at,day,even\r\n"
    assert file_of(NdjsonFormat(), about(COLUMNS), []) == b""


def test_instants_of_other_zones_are_the_same_instants() -> None:
    columns = (Column("at", "timestamp", "."), Column("day", "date", "."))
    at = datetime(2026, 1, 1, 12, tzinfo=UTC) + timedelta(microseconds=500_000)
    content = file_of(CsvFormat(), about(columns), [(at, date(2026, 1, 1))])
    assert read_csv(content)[1] == ["2026-01-01T12:00:00.500000Z", "2026-01-01"]
