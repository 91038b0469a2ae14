"""The verification of an exported file of the audit log, without a database."""

import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Final

from services.reporting.domain.reports.audit_verification import AuditFile, RowFault
from services.reporting.domain.reports.exported_records import CellError, read_record
from services.reporting.verification.binary_files import read_parquet, read_xlsx
from services.reporting.verification.chains import BROKEN, NOT_RUN, PROGRESS_RECORDS, WHOLE, show_account
from services.reporting.verification.text_files import FileError, NotAnAuditFileError, read_csv, read_json, read_ndjson

Cells = Mapping[str, object]
_HEAD_BYTES: Final = 64
_STARTS: Final[Mapping[bytes, Callable[[Path], Iterator[Cells]]]] = {
    b"PAR1": read_parquet,
    b"PK\x03\x04": read_xlsx,
    b'{"report":': read_json,
    b'{"row":': read_ndjson,
}
"""By what a file begins with, the reader of its format."""
_XLSX_TOLERANCE: Final = timedelta(milliseconds=1)
"""A spreadsheet has times to the millisecond."""


def verify_file(path: Path) -> int:
    """Print each chain of the file, or the first row that is not right.

    Return the exit code: 0 all is as it was exported, 1 something is not, 2 the file could not be read.
    """
    try:
        return _verify(path)
    except NotAnAuditFileError as error:
        print(f"{path} is no exported audit log: {error}", file=sys.stderr)
    except OSError as error:
        print(f"{path} cannot be read: {error.strerror or error}", file=sys.stderr)
    return NOT_RUN


def _verify(path: Path) -> int:
    read = _reader(path)
    file = AuditFile(_XLSX_TOLERANCE if read is read_xlsx else timedelta(0))
    chains = 0
    try:
        for found in _verified(file, read(path)):
            if isinstance(found, RowFault):
                return _broken(found)
            chains += 1
            print(show_account(str(found)))
            sys.stdout.flush()
    except (FileError, CellError) as error:
        return _broken(RowFault(file.rows + 1, str(error)))
    print(f"{chains} chains, {file.rows} rows: all as exported")
    return WHOLE


def _verified(file: AuditFile, rows: Iterator[Cells]) -> Iterator[object]:
    for cells in rows:
        yield from file.add(read_record(cells))
        if file.rows % PROGRESS_RECORDS == 0:
            print(f"{file.rows} rows", file=sys.stderr, flush=True)
    yield from file.end()


def _broken(fault: RowFault) -> int:
    print(f"{show_account(str(fault))} (as exported up to row {fault.row - 1})")
    return BROKEN


def _reader(path: Path) -> Callable[[Path], Iterator[Cells]]:
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if not head:
        raise NotAnAuditFileError("it is empty")
    return next((read for start, read in _STARTS.items() if head.startswith(start)), read_csv)
