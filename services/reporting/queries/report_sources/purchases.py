"""The rows of purchases: the lots of subscriptions, as of an instant."""

from collections.abc import Collection

from services.reporting.domain.reports.purchases import purchase_rows
from services.reporting.queries.report_rows import ReportRequest
from services.reporting.queries.report_sources.shown import load_shown
from services.reporting.queries.report_sources.subscription_states import Compute, SubscriptionSource
from shared.events.state import SubscriptionState
from shared.runtime.postgres.pool import Connection


async def _purchases(connection: Connection, request: ReportRequest, states: Collection[SubscriptionState]) -> Compute:
    show = await load_shown(connection, {lot.void_reason for one in states for lot in one.lots})
    return lambda state: purchase_rows(state, request.as_of, show)


def purchase_source(request: ReportRequest) -> SubscriptionSource:
    """Open the source of ``purchases``."""
    return SubscriptionSource(request, _purchases, lambda counts: counts.lots, rows_each=2)
