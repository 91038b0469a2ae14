"""Exported files of the audit log: what is not as it was exported is found."""

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from services.reporting.domain.audit_chain import link_hash
from services.reporting.domain.reports.audit import COLUMNS, row_hash
from services.reporting.domain.reports.audit_verification import CUT
from services.reporting.domain.reports.columns import Row, Value
from services.reporting.domain.reports.definitions import TABLE_FORMATS, Format
from services.reporting.domain.reports.exported_records import FORMULA_STARTS, ExportedRecord
from services.reporting.exports.formats import csv_file, xlsx_cells
from services.reporting.verification import files
from services.reporting.verification.files import verify_file
from tests.support.builders.audit_files import PERSON, chain, rows_of, write_file
from tests.support.drivers.processes import ROOT

RECORDS = [*chain("acme", 6), *chain("globex", 2)]
ROWS = rows_of(RECORDS)
FLAVOURS: list[tuple[Format, str]] = [*((one, "raw") for one in TABLE_FORMATS), ("csv", "spreadsheet")]
LINES: list[tuple[Format, str]] = [("csv", "raw"), ("csv", "spreadsheet"), ("ndjson", "raw"), ("json", "raw")]


@pytest.mark.parametrize(("format", "flavour"), FLAVOURS)
def test_an_exported_file_is_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], format: Format, flavour: str
) -> None:
    path = write_file(tmp_path / "audit", format, ROWS, flavour=flavour)
    assert verify_file(path) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"acme: 6 records, the last is 6, {RECORDS[5].hash.hex()}",
        f"globex: 2 records, the last is 2, {RECORDS[7].hash.hex()}",
        "2 chains, 8 rows: all as exported",
    ]


@pytest.mark.parametrize("format", TABLE_FORMATS)
def test_gaps_are_named_when_a_file_leaves_records_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], format: Format
) -> None:
    some = [RECORDS[place] for place in (1, 2, 5, 7)]
    assert verify_file(write_file(tmp_path / "audit", format, rows_of(some))) == 0
    first, second, _ = capsys.readouterr().out.splitlines()
    assert first.endswith("; not in the file: 1, 4-5")
    assert second.endswith("; not in the file: 1")


def test_only_some_of_many_gaps_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify_file(write_file(tmp_path / "audit", "csv", rows_of(chain("acme", 60)[::2]))) == 0
    assert "16, 18, 20 and 19 more gaps" in capsys.readouterr().out


def test_records_without_their_text_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records = chain("acme", 4)
    records[1] = records[1]._replace(recorded=json.dumps({"after": {"members": [PERSON]}}))
    rows = rows_of(records, frozenset({PERSON}))
    assert rows[1][COLUMNS.index("recorded")] is None
    assert PERSON not in str(rows[1])
    path = write_file(tmp_path / "audit", "csv", rows)
    assert verify_file(path) == 0
    assert "without their text, so not verified in full: 1" in capsys.readouterr().out


def flipped(value: Value) -> Value:
    """Return a value that differs as little as possible."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value ^ 1
    if isinstance(value, str):
        middle = len(value) // 2
        return value[:middle] + chr(ord(value[middle]) ^ 1) + value[middle + 1 :]
    assert value is not None
    return value.replace(microsecond=value.microsecond ^ 1)  # type: ignore[union-attr, call-arg]


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize(("format", "flavour"), FLAVOURS)
def test_a_changed_cell_is_found_in_any_column(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], format: Format, flavour: str, column: str
) -> None:
    """Of a workbook, a time is changed by more than its cells' precision."""
    place = COLUMNS.index(column)
    rows = [list(row) for row in ROWS]
    value = rows[2][place]
    changed = flipped(value)
    if column == "at" and format == "xlsx":
        changed = value.replace(microsecond=5000)  # type: ignore[union-attr, call-arg]
    assert changed != value
    rows[2][place] = changed
    assert verify_file(write_file(tmp_path / "audit", format, rows, flavour=flavour)) == 1
    assert capsys.readouterr().out.startswith("BROKEN at row 3"), column


@pytest.mark.parametrize(("format", "flavour"), LINES)
def test_any_changed_byte_of_a_line_is_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], format: Format, flavour: str
) -> None:
    path = write_file(tmp_path / "audit", format, rows_of(RECORDS[:4]), flavour=flavour)
    whole = path.read_bytes()
    start, end = whole.index(RECORDS[1].event_id.encode()), whole.index(RECORDS[2].event_id.encode())
    for at in range(start, end):
        changed = bytes([whole[at] ^ 1])
        path.write_bytes(whole[:at] + changed + whole[at + 1 :])
        assert verify_file(path) in {1, 2}, (at, whole[at : at + 20])
    capsys.readouterr()


def renumbered(rows: Sequence[Row]) -> list[Row]:
    """Number rows anew and compute their hashes, as a forger would."""
    forged: list[Row] = []
    for number, row in enumerate(rows, 1):
        cells: list[Value] = [number, *row[1:-1], number == len(rows)]
        kept = [one for place, one in enumerate(cells) if COLUMNS[place] not in {"at", "row_hash"}]
        cells[COLUMNS.index("row_hash")] = row_hash(kept)
        forged.append(cells)
    return forged


TAMPERINGS: dict[str, tuple[Callable[[list[Row]], list[Row]], str]] = {
    "deleted": (lambda rows: [*rows[:2], *rows[3:]], "BROKEN at row 3, record 4 of acme: missing: the next row is 4"),
    "deleted first": (lambda rows: rows[1:], "BROKEN at row 1, record 2 of acme: missing: the next row is 2"),
    "swapped": (lambda rows: [*rows[:2], rows[3], rows[2], *rows[4:]], "BROKEN at row 3, record 4 of acme: missing"),
    "swapped and renumbered": (
        lambda rows: renumbered([*rows[:2], rows[3], rows[2], *rows[4:]]),
        "BROKEN at row 4, record 3 of acme: moved: it stands after record 4",
    ),
    "doubled": (lambda rows: [*rows[:3], rows[2], *rows[3:]], "BROKEN at row 4, record 3 of acme: moved or added"),
    "cut at a row": (lambda rows: rows[:5], "BROKEN at row 6: truncated: row 5 is not the file's last row"),
    "added": (lambda rows: [*rows, rows[0]], "BROKEN at row 9, record 1 of acme: added"),
    "chains moved": (
        lambda rows: renumbered([*rows[:2], *rows[6:], *rows[2:6]]),
        "BROKEN at row 5, record 3 of acme: moved: the chain of its account",
    ),
}


@pytest.mark.parametrize("name", TAMPERINGS)
@pytest.mark.parametrize("format", TABLE_FORMATS)
def test_a_row_in_the_wrong_place_is_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], format: Format, name: str
) -> None:
    tamper, words = TAMPERINGS[name]
    assert verify_file(write_file(tmp_path / "audit", format, tamper(list(ROWS)))) == 1
    assert words in capsys.readouterr().out


def test_a_forged_record_is_found_by_the_one_that_follows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The text and hashes of its row are replaced: only the next record shows it."""
    forged = RECORDS[2]._replace(recorded=RECORDS[2].recorded.replace("denied", "allowed"), outcome="allowed")
    digest = link_hash(forged.previous_hash, 3, forged.event_id, forged.source, forged.recorded)
    records = [*RECORDS[:2], forged._replace(hash=digest), *RECORDS[3:]]
    assert verify_file(write_file(tmp_path / "audit", "csv", rows_of(records))) == 1
    assert "BROKEN at row 4, record 4 of acme: hash wrong: it does not follow" in capsys.readouterr().out


def test_a_removed_record_is_a_gap_when_a_forger_numbers_the_rows_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It cannot be told from one that its maker may not see, so it is named."""
    rows = renumbered([*ROWS[:2], *ROWS[3:]])
    assert verify_file(write_file(tmp_path / "audit", "csv", rows)) == 0
    assert "not in the file: 3" in capsys.readouterr().out


@pytest.mark.parametrize("format", TABLE_FORMATS)
def test_a_cut_file_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str], format: Format) -> None:
    path = write_file(tmp_path / "audit", format, ROWS)
    whole = path.read_bytes()
    for left in (1, 2, 3, 40, 400, len(whole) // 2):
        path.write_bytes(whole[:-left])
        assert verify_file(path) == 1, left
        assert "BROKEN at row" in capsys.readouterr().out


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"a,b\r\n1,2\r\n",
        b'{"report":"alerts","rows":[\n\n]}\n',
        b"\xff\xfe",
    ],
)
def test_another_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes) -> None:
    path = tmp_path / "audit"
    path.write_bytes(content)
    assert verify_file(path) in ({1} if content == b"\xff\xfe" else {2})
    assert verify_file(tmp_path / "no-such") == 2
    assert verify_file(tmp_path) == 2
    assert "cannot be read: No such file" in capsys.readouterr().err


def test_a_workbook_that_cut_a_text_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (record,) = chain("acme", 1)
    content = json.loads(record.recorded) | {"after": {"text": "x" * 40_000}}
    record = record._replace(recorded=json.dumps(content))
    digest = link_hash(record.previous_hash, 1, record.event_id, record.source, record.recorded)
    rows = rows_of([record._replace(hash=digest)])
    assert verify_file(write_file(tmp_path / "audit", "xlsx", rows)) == 1
    assert "cut: a spreadsheet cannot hold its text" in capsys.readouterr().out
    assert verify_file(write_file(tmp_path / "audit", "csv", rows)) == 0


def test_the_spreadsheet_flavour_guards_texts(tmp_path: Path) -> None:
    path = write_file(tmp_path / "audit", "csv", ROWS, flavour="spreadsheet")
    cells = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"), newline="")))
    assert {row["source"] for row in cells} == {"'@services/allocation"}
    assert {row["reason"] for row in cells} == {"'=1+1"}, "with and without an apostrophe of its own"


def test_a_file_is_verified_without_settings(tmp_path: Path) -> None:
    path = write_file(tmp_path / "audit", "ndjson", ROWS)
    env = {name: value for name, value in os.environ.items() if not name.startswith("UNITPOOL")}
    command = [sys.executable, "-m", "services.reporting", "verify-audit"]
    done = subprocess.run(
        [*command, "--file", str(path)], capture_output=True, text=True, cwd=ROOT, env=env, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("2 chains, 8 rows: all as exported\n")
    without = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=env, check=False)
    assert without.returncode == 2
    assert "DATABASE_URL is not set" in without.stderr
    both = subprocess.run(
        [*command, "--file", "x", "--account", "acme"], capture_output=True, cwd=ROOT, env=env, check=False
    )
    assert both.returncode == 2


def test_progress_is_printed_when_a_file_is_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(files, "PROGRESS_RECORDS", 3)
    assert verify_file(write_file(tmp_path / "audit", "csv", ROWS)) == 0
    assert capsys.readouterr().err.splitlines() == ["3 rows", "6 rows"]


def test_rules_that_are_said_twice_are_the_same() -> None:
    assert ExportedRecord._fields == COLUMNS
    assert FORMULA_STARTS == csv_file.FORMULA_STARTS
    assert CUT == xlsx_cells.CUT
