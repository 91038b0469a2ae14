"""The rows of alerts, and of their deliveries."""

from datetime import datetime

from services.reporting.domain.reports.alerts import alert_row, delivery_row, read_alert
from services.reporting.queries.report_rows import Position, ReportRequest, Step
from services.reporting.queries.report_sources.positions import BEFORE_ALL, read_position, write_position
from services.reporting.queries.report_sources.scope import Wanted, load_scope
from services.reporting.queries.report_sources.shown import load_shown
from services.reporting.store.alert_rows import (
    Raised,
    count_alerts,
    count_deliveries,
    load_alerts,
    load_deliveries,
)
from shared.runtime.postgres.pool import Connection
from shared.runtime.postgres.row_decoding import decode_rows


class AlertSource:
    """Rows in the order of subscription, time and alert."""

    def __init__(self, request: ReportRequest) -> None:
        self._request = request
        wanted = Wanted.of(request)
        self._wanted = Raised(request.as_of, wanted.start, wanted.end, wanted.product)

    async def count(self, connection: Connection) -> int:
        """Count the alerts."""
        return await count_alerts(connection, await load_scope(connection, self._request), self._wanted)

    async def read(self, connection: Connection, position: Position | None, limit: int) -> Step:
        """Read the next alerts; one that cannot be read is left out."""
        subscription, at, alert = read_position(position, "", BEFORE_ALL.isoformat(), "")
        scope = await load_scope(connection, self._request)
        after = (subscription, datetime.fromisoformat(at), alert)
        found = await load_alerts(connection, after, limit, scope, self._wanted)
        alerts = decode_rows(found, lambda row: read_alert(row["state"]), "alerts")
        show = await load_shown(connection, {one.acknowledged_by for one in alerts})
        rows = [alert_row(one, self._request.as_of, show) for one in alerts]
        if len(found) < limit:
            return Step(rows, None)
        last = found[-1]
        return Step(rows, write_position(last["subscription"], last["raised_at"].isoformat(), last["id"]))


class DeliverySource:
    """Rows in the order of subscription and delivery."""

    def __init__(self, request: ReportRequest) -> None:
        self._request = request
        wanted = Wanted.of(request)
        self._times = (wanted.start, wanted.end)

    async def count(self, connection: Connection) -> int:
        """Count the deliveries."""
        return await count_deliveries(connection, await load_scope(connection, self._request), self._times)

    async def read(self, connection: Connection, position: Position | None, limit: int) -> Step:
        """Read the next deliveries."""
        subscription, delivery = read_position(position, "", "")
        scope = await load_scope(connection, self._request)
        found = await load_deliveries(connection, (subscription, delivery), limit, scope, self._times)
        rows = [delivery_row(one) for one in found]
        last = found[-1] if len(found) == limit else None
        return Step(rows, write_position(last.subscription, last.delivery) if last else None)
