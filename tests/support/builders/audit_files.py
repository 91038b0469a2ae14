"""Exported files of the audit log, made without a database."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from services.reporting.domain.audit_chain import START, link_hash
from services.reporting.domain.reports.audit import AUDIT, ChainedRecord, audit_row
from services.reporting.domain.reports.columns import Row
from services.reporting.domain.reports.definitions import Format
from shared.events.outcomes import AuditRecord
from tests.support.builders.published import START as BEGUN
from tests.support.builders.report_files import report_file

ADDRESS = "paula@acme.example"
PERSON = "0" * 31 + "1"
MICROSECONDS = (7, 0, 528_440, 500_000)
"""Fractions of the records' times: none, and some that end with zeros."""


def show(value: str) -> str:
    """Show the only person by their address, and a sealed text opened."""
    return {PERSON: ADDRESS}.get(value, value)


def chain(account: str, count: int) -> list[ChainedRecord]:
    """A chain of records, as the database appends it."""
    records, previous = [], START
    for number in range(1, count + 1):
        content = AuditRecord(
            at=BEGUN + timedelta(hours=number, microseconds=MICROSECONDS[number % len(MICROSECONDS)]),
            account=account,
            subscription="sub-1" if number % 2 else None,
            actor=PERSON,
            address="192.0.2.1",
            action="apply-plan",
            object=f"account/{account}/person/{PERSON}",
            before={"units": number - 1},
            after={"units": number, "name": "Zoë \U0001f600 'quoted', \\ \n \u2028 _x0041_", "share": 0.1},
            outcome="allowed" if number % 3 else "denied",
            reason="=1+1" if number % 2 else "'=1+1",
            correlation_id=f"request-{number}",
        )
        text, event, source = content.model_dump_json(), f"{account}-{number}", "@services/allocation"
        digest = link_hash(previous, number, event, source, text)
        columns = (content.subscription, PERSON, content.action, content.outcome)
        records.append(ChainedRecord(account, number, content.at, *columns, event, source, previous, digest, text))
        previous = digest
    return records


def rows_of(records: Sequence[ChainedRecord], hidden: frozenset[str] = frozenset()) -> list[Row]:
    """The rows of a file with these records."""
    return [audit_row(one, place, show, hidden, is_last=place == len(records)) for place, one in enumerate(records, 1)]


def write_file(path: Path, format: Format, rows: Sequence[Row], **parameters: str) -> Path:
    """Write rows to a file; return its path."""
    path.write_bytes(report_file(AUDIT, format, rows, **parameters))
    return path
