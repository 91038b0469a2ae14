"""The verification of an exported audit log: the first row that is not right.

It needs the file only. What is verified of each row: its place in the file, its hash from its own content and the
previous hash that it states, the cells that repeat the recorded text, that it follows the record before it where the
numbers of the chain do, and all other cells by the hash of the row.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from services.reporting.domain.audit_chain import START, link_hash
from services.reporting.domain.reports.exported_records import ExportedRecord

_REPEATED: Final = ("account", "subscription", "address", "action", "outcome", "correlation_id")
"""Cells that repeat a member of the recorded text."""
CUT: Final = "… [cut]"
"""What a text ends with that a spreadsheet could not hold."""
_SHOWN_GAPS: Final = 10


@dataclass(frozen=True, slots=True)
class RowFault:
    """The first row that is not right, and why.

    ``record``: its number in its account's chain.
    """

    row: int
    what: str
    account: str | None = None
    record: int | None = None

    def __str__(self) -> str:
        of = "" if self.record is None else f", record {self.record} of {self.account}"
        return f"BROKEN at row {self.row}{of}: {self.what}"


@dataclass(slots=True)
class FileChain:
    """The records of one account in a file.

    ``gaps``: the first and last number of each span that the file leaves out. ``untold``: records without their text.
    """

    account: str
    records: int = 0
    number: int = 0
    hash: str = START.hex()
    gaps: list[tuple[int, int]] = field(default_factory=list)
    gap_count: int = 0
    untold: int = 0

    def __str__(self) -> str:
        parts = [f"{self.account}: {self.records} records, the last is {self.number}, {self.hash}"]
        if self.gap_count:
            shown = ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in self.gaps)
            more = self.gap_count - len(self.gaps)
            parts.append(f"not in the file: {shown}{f' and {more} more gaps' if more else ''}")
        if self.untold:
            parts.append(f"without their text, so not verified in full: {self.untold}")
        return "; ".join(parts)

    def add(self, record: ExportedRecord) -> str | None:
        """Add the next record; return what is wrong with its place, if anything."""
        if record.number <= self.number:
            return f"moved: it stands after record {self.number}"
        if record.number == self.number + 1:
            if record.previous_hash != self.hash:
                return "hash wrong: it does not follow the previous record, or that one was replaced"
        else:
            self.gap_count += 1
            if len(self.gaps) < _SHOWN_GAPS:
                self.gaps.append((self.number + 1, record.number - 1))
        self.records, self.number, self.hash = self.records + 1, record.number, record.hash or ""
        self.untold += record.recorded is None
        return None


class AuditFile:
    """The verification of a file, row by row.

    ``tolerance``: how far the times of this format may be from the recorded ones.
    """

    def __init__(self, tolerance: timedelta = timedelta(0)) -> None:
        self.rows = 0
        self._tolerance = tolerance
        self._chain: FileChain | None = None
        self._accounts: set[str] = set()
        self._is_last = False

    def add(self, record: ExportedRecord) -> Iterator[FileChain | RowFault]:
        """Verify the next row: yield the chain that ended, and its fault, if any."""
        place = self.rows + 1
        if fault := self._misplaced(record, place):
            yield RowFault(place, fault, record.account, record.number)
            return
        exact, fault = self._whole(record)
        account = exact.account or ""
        if not fault and (self._chain is None or self._chain.account != account):
            if account in self._accounts:
                fault = "moved: the chain of its account stands before another one"
            if self._chain is not None:
                yield self._chain
            self._chain = FileChain(account)
            self._accounts.add(account)
        if not fault and self._chain is not None:
            fault = self._chain.add(exact)
        if fault:
            yield RowFault(place, fault, record.account, record.number)
            return
        self.rows, self._is_last = place, exact.last

    def end(self) -> Iterator[FileChain | RowFault]:
        """Yield the last chain, and the fault of the file's end, if any."""
        if self._chain is not None:
            yield self._chain
        if self.rows and not self._is_last:
            yield RowFault(self.rows + 1, f"truncated: row {self.rows} is not the file's last row")

    def _misplaced(self, record: ExportedRecord, place: int) -> str | None:
        if self._is_last:
            return "added: the row before it is the file's last row"
        if record.row > place:
            return f"missing: the next row is {record.row}"
        if record.row < place:
            return f"moved or added: it is row {record.row}"
        return None

    def _whole(self, record: ExportedRecord) -> tuple[ExportedRecord, str | None]:
        """Return a row as it was exported, and what is wrong with it."""
        first: str | None = None
        for one in record.unguarded():
            fault = changed(one, self._tolerance)
            if fault is None:
                return one, None
            first = first or fault
        return record, first


def changed(record: ExportedRecord, tolerance: timedelta) -> str | None:
    """Return which cell of a row is not as it was exported; ``None``: all are."""
    if record.recorded is not None:
        if record.recorded.endswith(CUT):
            return "cut: a spreadsheet cannot hold its text; export it as csv, ndjson, json or parquet"
        if not _is_hashed(record):
            return "changed: its hash is not that of its event, source, number, previous hash and recorded text"
        if name := _changed_cell(record, tolerance):
            return f"changed: its cell {name} is not what was recorded"
    if record.row_hash != record.computed_row_hash:
        return "changed: its row_hash is not that of its cells"
    return None


def _is_hashed(record: ExportedRecord) -> bool:
    if record.event is None or record.source is None or record.recorded is None:
        return False
    try:
        previous = bytes.fromhex(record.previous_hash or "")
    except ValueError:
        return False
    return record.hash == link_hash(previous, record.number, record.event, record.source, record.recorded).hex()


def _changed_cell(record: ExportedRecord, tolerance: timedelta) -> str | None:
    try:
        content = json.loads(record.recorded or "")
        at = datetime.fromisoformat(content["at"])
        if abs(at - record.at) > tolerance:
            return "at"
        return next((name for name in _REPEATED if getattr(record, name) != (content.get(name) or None)), None)
    except (ValueError, TypeError, KeyError, AttributeError):
        return "recorded"
