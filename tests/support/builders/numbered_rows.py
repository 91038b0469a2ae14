"""A report of numbered rows with values of every type, and its source."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from services.reporting.domain.reports.catalogue import REPORTS
from services.reporting.domain.reports.columns import Column, Row
from services.reporting.domain.reports.definitions import Report, ReportId
from services.reporting.queries.report_rows import Position, ReportRequest, Step
from shared.runtime.postgres.pool import Connection

COLUMNS = (
    Column("number", "integer", "Number of the row."),
    Column("name", "text", "Name of the row."),
    Column("note", "text", "A note with odd characters; every third row has none.", nullable=True),
    Column("amount", "decimal", "An amount.", nullable=True, scale=4),
    Column("at", "timestamp", "An instant."),
    Column("day", "date", "A day.", nullable=True),
    Column("even", "boolean", "Whether the number is even."),
)
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
NOTES = ("=1+1", 'a "quoted", text', "emoji 🎉 and שלום", None)


def numbered_report(id: str = "purchases") -> Report:
    """The report: it has the id, the parameters and the audience of a real one."""
    return replace(REPORTS[ReportId(id)], columns=COLUMNS)


def numbered_row(number: int) -> Row:
    """A row by its number."""
    return (
        number,
        f"row {number}",
        NOTES[number % len(NOTES)],
        None if number % 5 == 4 else Decimal(number) / 8,
        BEGIN + timedelta(minutes=number, microseconds=number % 2),
        None if number % 7 == 6 else date(2026, 1, 1) + timedelta(days=number % 365),
        number % 2 == 0,
    )


class NumberedSource:
    """Rows 0 to ``count`` - 1, of which a step returns at most ``step_max``."""

    def __init__(self, count: int, step_max: int = 10_000) -> None:
        self._count = count
        self._step_max = step_max

    async def count(self, _connection: Connection) -> int:
        """Return the number of rows."""
        return self._count

    async def read(self, _connection: Connection, position: Position | None, limit: int) -> Step:
        """Return the next rows; the position is the next number."""
        start = int(position or 0)
        end = min(start + min(limit, self._step_max), self._count)
        return Step([numbered_row(number) for number in range(start, end)], None if end == self._count else str(end))


def numbered(count: int, step_max: int = 10_000) -> Callable[[ReportRequest], NumberedSource]:
    """What opens such a source for any request."""
    return lambda _request: NumberedSource(count, step_max)
