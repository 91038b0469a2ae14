"""The rows of the reconciliation of usage, and of the quarantine."""

from datetime import UTC, date, timedelta

from services.reporting.domain.reports.usage_books import QuarantineEntry, book_row, quarantine_row
from services.reporting.queries.report_rows import Position, ReportRequest, Step
from services.reporting.queries.report_sources.positions import read_position, write_position
from services.reporting.queries.report_sources.scope import Wanted
from services.reporting.store.quarantine import Filter
from services.reporting.store.reconciliation import LineFilter
from services.reporting.store.usage_book_rows import (
    BEFORE_ALL,
    count_lines,
    count_quarantine,
    load_lines,
    scan_quarantine,
)
from shared.runtime.postgres.pool import Connection
from shared.runtime.postgres.row_decoding import decode_rows

_MOMENT = timedelta(microseconds=1)


class ReconciliationSource:
    """Rows in the order of day, product and source."""

    def __init__(self, request: ReportRequest) -> None:
        wanted = Wanted.of(request)
        first = wanted.start.astimezone(UTC).date() if wanted.start else None
        last = (wanted.end.astimezone(UTC) - _MOMENT).date() if wanted.end else None
        self._wanted = LineFilter(first, last, wanted.product)

    async def count(self, connection: Connection) -> int:
        """Count the lines."""
        return await count_lines(connection, self._wanted)

    async def read(self, connection: Connection, position: Position | None, limit: int) -> Step:
        """Read the next lines."""
        day, product, source = read_position(position, BEFORE_ALL.isoformat(), "", "")
        found = await load_lines(connection, (date.fromisoformat(day), product, source), limit, self._wanted)
        last = found[-1] if len(found) == limit else None
        rows = [book_row(line) for line in found]
        return Step(rows, write_position(last.day.isoformat(), last.product, last.source) if last else None)


class QuarantineSource:
    """Rows in the order of their numbers."""

    def __init__(self, request: ReportRequest) -> None:
        wanted = Wanted.of(request)
        self._wanted = Filter(
            reason=wanted.reason,
            product=wanted.product,
            subscription=request.parameters.get("subscription"),
            start=wanted.start,
            end=wanted.end,
        )

    async def count(self, connection: Connection) -> int:
        """Count the records."""
        return await count_quarantine(connection, self._wanted)

    async def read(self, connection: Connection, position: Position | None, limit: int) -> Step:
        """Read the next records, at most ``limit``; one that cannot be read is left out."""
        (after,) = read_position(position, 0)
        scanned = await scan_quarantine(connection, int(after), limit, self._wanted)
        found = [row for row in scanned if row["state"] is not None]
        rows = decode_rows(found, lambda row: quarantine_row(QuarantineEntry(*row)), "quarantine")
        return Step(rows, write_position(scanned[-1]["id"]) if len(scanned) == limit else None)
