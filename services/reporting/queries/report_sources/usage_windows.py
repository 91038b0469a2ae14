"""The rows of usage by window, as the API answers it."""

from collections.abc import Collection, Iterator
from datetime import datetime, timedelta

from services.reporting.domain.reports.columns import Row
from services.reporting.domain.reports.parameter_checks import KEPT_DAYS
from services.reporting.domain.reports.usage import USAGE_BY_WINDOW, window_rows
from services.reporting.domain.usage import UsageRequest, usage_items
from services.reporting.queries.report_rows import ReportRequest
from services.reporting.queries.report_sources.scope import Wanted, load_scope
from services.reporting.queries.report_sources.subscription_states import Compute, SubscriptionSource
from services.reporting.store import products
from services.reporting.store.subscription_batches import Span, count_windows, load_usage_rows
from shared.events.state import SubscriptionState
from shared.runtime.postgres.pool import Connection

_ROWS_EACH = 200
"""Rows of a subscription, about: eight products in a year of windows."""


class UsageWindowSource(SubscriptionSource):
    """The source of ``usage-by-window``."""

    def __init__(self, request: ReportRequest) -> None:
        super().__init__(request, _usage, lambda counts: counts.products, rows_each=_ROWS_EACH)

    async def count(self, connection: Connection) -> int:
        """Count the measured windows."""
        start, end = _times(self._request)
        scope = await load_scope(connection, self._request)
        return await count_windows(connection, scope, start, end, Wanted.of(self._request).product)


def _times(request: ReportRequest) -> tuple[datetime, datetime]:
    """Return from when until when windows are wanted; a year without parameters."""
    kept, wanted = timedelta(days=KEPT_DAYS[USAGE_BY_WINDOW.id]), Wanted.of(request)
    end = wanted.end or request.as_of
    return wanted.start or max(end - kept, request.as_of - kept), end


async def _usage(connection: Connection, request: ReportRequest, states: Collection[SubscriptionState]) -> Compute:
    (start, end), wanted = _times(request), Wanted.of(request)
    requests = {
        one.id: UsageRequest(one, start, end, request.as_of, wanted.product, measured_only=wanted.start is None)
        for one in states
    }
    spans = [Span(one.subscription.id, one.rows_from, end) for one in requests.values()]
    rows = await load_usage_rows(connection, spans, wanted.product)
    used = {str(product.product) for one in states for product in one.products}
    used |= {row.product for some in rows.values() for row in some}
    catalogue = await products.find_products(connection, used)

    def compute(state: SubscriptionState) -> Iterator[Row]:
        items = usage_items(requests[state.id], catalogue, rows.get(state.id, ()))
        return window_rows(state.id, items, wanted.meter)

    return compute
