"""The rows of the history of allocations."""

from datetime import datetime

from services.reporting.domain.reports.allocation_history import change_row
from services.reporting.queries.report_rows import Position, ReportRequest, Step
from services.reporting.queries.report_sources.positions import BEFORE_ALL, read_position, write_position
from services.reporting.queries.report_sources.scope import Wanted, load_scope
from services.reporting.queries.report_sources.shown import load_shown
from services.reporting.store.allocation_rows import Between, count_changes, load_changes
from shared.runtime.postgres.pool import Connection


class AllocationHistorySource:
    """Rows in the order of subscription, time, event and product."""

    def __init__(self, request: ReportRequest) -> None:
        self._request = request
        wanted = Wanted.of(request)
        self._wanted = Between(request.as_of, wanted.start, wanted.end, wanted.product)

    async def count(self, connection: Connection) -> int:
        """Count the changes."""
        return await count_changes(connection, await load_scope(connection, self._request), self._wanted)

    async def read(self, connection: Connection, position: Position | None, limit: int) -> Step:
        """Read the next changes."""
        subscription, at, event, product = read_position(position, "", BEFORE_ALL.isoformat(), "", "")
        scope = await load_scope(connection, self._request)
        after = (subscription, datetime.fromisoformat(at), event, product)
        found = await load_changes(connection, after, limit, scope, self._wanted)
        show = await load_shown(connection, {text for one in found for text in (one.actor, one.reason)})
        rows = [change_row(one, show) for one in found]
        if len(found) < limit:
            return Step(rows, None)
        last = found[-1]
        return Step(rows, write_position(last.subscription, last.at.isoformat(), last.event_id, last.product))
