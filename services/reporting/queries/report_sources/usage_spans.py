"""The rows of usage by day and by hour, as the API answers them."""

from collections.abc import Collection, Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from functools import partial
from typing import Final
from zoneinfo import ZoneInfo

from services.reporting.domain.reports.columns import Row
from services.reporting.domain.reports.parameter_checks import KEPT_DAYS
from services.reporting.domain.reports.usage import span_rows
from services.reporting.domain.usage_spans import SpanInterval, SpanRequest
from services.reporting.queries.report_rows import ReportRequest, RowSource
from services.reporting.queries.report_sources.scope import Wanted, load_scope
from services.reporting.queries.report_sources.subscription_states import Compute, SubscriptionSource
from services.reporting.queries.usage_spans import SpanSource, load_span_source
from services.reporting.store.usage_days import count_days
from shared.events.state import SubscriptionState
from shared.runtime.postgres.pool import Connection

_ROWS_EACH: Final = {"day": 3_000, "hour": 10_000}
"""Rows of a subscription, about.

They are of eight products in a year of days, or in 45 days of hours.
"""


class UsageSpanSource(SubscriptionSource):
    """The source of ``usage-by-day`` and ``usage-by-hour``."""

    def __init__(self, interval: SpanInterval, request: ReportRequest) -> None:
        super().__init__(
            request, partial(_usage, interval), lambda counts: counts.products, rows_each=_ROWS_EACH[interval]
        )
        self._interval = interval

    async def count(self, connection: Connection) -> int:
        """Count the measured days, or 24 hours of each."""
        start, end = _times(self._request)
        scope = await load_scope(connection, self._request)
        days = await count_days(
            connection, scope.subscriptions, scope.account, start.date(), end.date(), Wanted.of(self._request).product
        )
        return days if self._interval == "day" else days * 24


def usage_by_day_source(request: ReportRequest) -> RowSource:
    """Open the rows of ``usage-by-day``."""
    return UsageSpanSource("day", request)


def usage_by_hour_source(request: ReportRequest) -> RowSource:
    """Open the rows of ``usage-by-hour``."""
    return UsageSpanSource("hour", request)


def _times(request: ReportRequest) -> tuple[datetime, datetime]:
    """Return from when until when usage is wanted.

    Without parameters it is all that is kept.
    """
    kept, wanted = timedelta(days=KEPT_DAYS[request.report.id]), Wanted.of(request)
    end = wanted.end or request.as_of
    return wanted.start or max(end - kept, request.as_of - kept), end


def _zone(request: ReportRequest) -> tzinfo:
    name = request.parameters.get("tz")
    return UTC if name is None else ZoneInfo(name)


async def _usage(
    interval: SpanInterval, connection: Connection, request: ReportRequest, states: Collection[SubscriptionState]
) -> Compute:
    (start, end), wanted = _times(request), Wanted.of(request)
    sources: dict[str, SpanSource] = {}
    for state in states:
        spans = SpanRequest(
            subscription=state,
            interval=interval,
            zone=_zone(request),
            start=start,
            end=end,
            now=request.as_of,
            product=wanted.product,
            meter=wanted.meter,
            measured_only=wanted.start is None,
        )
        sources[state.id] = await load_span_source(connection, spans)

    def compute(state: SubscriptionState) -> Iterator[Row]:
        source = sources[state.id]
        return span_rows(state.id, source.items(), source.catalogue)

    return compute
