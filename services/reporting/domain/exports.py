"""Exports of reports: their states and limits, and the names of their files."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, NewType
from uuid import UUID

from services.reporting.domain.reports.definitions import Format, ReportId
from shared.events.ids import AccountId, PersonId

ExportId = NewType("ExportId", str)
State = Literal["queued", "running", "succeeded", "failed", "cancelled", "expired"]
"""``queued``: it waits for a worker, or for a retry.

``expired``: it succeeded, and its file is deleted.
"""

VENDOR: Final = "vendor"
"""The account of what operators of the vendor export."""
RUNNING_MAX: Final = 3
"""Most running exports of one person; the others wait."""
UNFINISHED_MAX: Final = 20
"""Most queued and running exports of an account, or of the vendor."""
KEPT_MAX: Final = 1000
"""Most exports of an account, or of the vendor, whose files are kept."""
KEPT_FOR: Final = timedelta(days=7)
SHOWN_FOR: Final = timedelta(days=30)
"""Time after its request for which an export without a file is listed."""
SAME_WITHIN: Final = timedelta(minutes=10)
"""Time in which the same request of a person is answered with the same export."""
LINK_LIFETIME: Final = timedelta(minutes=10)
PART_ROWS: Final = 50_000
STEP_ROWS: Final = 5_000
"""Rows that are read in one transaction, about."""
ATTEMPTS_MAX: Final = 8
"""Most attempts without a new part; then the export has failed."""
RETRY_MAX: Final = timedelta(minutes=5)

EXTENSIONS: Final[Mapping[Format, str]] = {
    "csv": "csv",
    "ndjson": "ndjson",
    "json": "json",
    "xlsx": "xlsx",
    "parquet": "parquet",
    "pdf": "pdf",
}
MEDIA_TYPES: Final[Mapping[Format, str]] = {
    "csv": "text/csv; charset=utf-8",
    "ndjson": "application/x-ndjson",
    "json": "application/json",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "parquet": "application/vnd.apache.parquet",
    "pdf": "application/pdf",
}


@dataclass(frozen=True, slots=True)
class NewExport:
    """An export to queue.

    ``account``: whose limit it counts towards. ``covers``: the only account that its rows can be of; ``None`` if they
    may be of several. ``is_vendor``: whether the requester was a vendor operator.
    ``digest``: the SHA-256 of what was requested, the same for the same request.
    """

    id: ExportId
    requested_by: PersonId
    account: str
    covers: AccountId | None
    is_vendor: bool
    report: ReportId
    format: Format
    parameters: Mapping[str, str]
    digest: bytes
    as_of: datetime
    names_people: bool
    requested_at: datetime


@dataclass(frozen=True, slots=True)
class ExportFile:
    """The file of an export. ``key``: its name in the storage."""

    key: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Export:
    """An export: what was requested, and how far it is.

    ``rows_expected`` is an estimate, ``None`` until the first attempt. ``failure``: a sentence for a person. ``file``
    is set once it has succeeded, and ``expires_at`` with it.
    """

    id: ExportId
    requested_by: PersonId
    account: str
    covers: AccountId | None
    is_vendor: bool
    report: ReportId
    format: Format
    parameters: Mapping[str, str]
    digest: bytes
    as_of: datetime
    names_people: bool
    state: State
    requested_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    expires_at: datetime | None
    rows_done: int
    rows_expected: int | None
    failure: str | None
    file: ExportFile | None

    @property
    def file_name(self) -> str:
        """The name under which the file is saved."""
        return file_name(self.report, self.as_of, self.format)


@dataclass(frozen=True, slots=True)
class Part:
    """A part of an export that is stored: ``key`` is its name in the storage."""

    number: int
    key: str
    rows: int


@dataclass(frozen=True, slots=True)
class Claimed:
    """An export that a worker has claimed, and where to go on.

    ``lease``: the token that this claim's changes need. ``attempts``: this one included, since the last part.
    ``position``: after the last part; ``None`` before the first.
    """

    export: Export
    lease: UUID
    attempts: int
    position: str | None
    all_read: bool
    parts: tuple[Part, ...]


def file_name(report: ReportId, as_of: datetime, format: Format) -> str:
    """Return the name of a file: ASCII letters, digits, ``-`` and a point."""
    at = as_of.astimezone(UTC)
    safe = "".join(one if one.isascii() and (one.isalnum() or one == "-") else "-" for one in report)
    return f"{safe}-{at:%Y%m%dT%H%M%SZ}.{EXTENSIONS[format]}"


def retry_delay(attempts: int, first: timedelta) -> timedelta:
    """Return the pause after this many attempts: it doubles, up to ``RETRY_MAX``."""
    factor: int = 2 ** min(attempts - 1, 16)
    return min(first * factor, RETRY_MAX)
