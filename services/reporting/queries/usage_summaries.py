"""Consumption across subscriptions, for the vendor."""

from collections.abc import Callable
from datetime import datetime

from services.reporting.domain.caller import Caller
from services.reporting.queries.access import require_vendor
from services.reporting.store import usage_summaries
from services.reporting.store.paging import Page
from services.reporting.store.usage_summaries import SummaryKey, UsageSummary
from shared.runtime.postgres.pool import Pool


class UsageSummaryQueries:
    """Reads of consumption across subscriptions."""

    def __init__(self, pool: Pool, clock: Callable[[], datetime]) -> None:
        self._pool = pool
        self._clock = clock

    async def summaries(
        self, caller: Caller, by: SummaryKey, start: datetime, end: datetime, *, limit: int, cursor: str | None
    ) -> Page[UsageSummary]:
        """List the sums from ``start`` to ``end``, or to now if that is earlier.

        Raises:
            ProblemError: ``forbidden``.
        """
        require_vendor(caller, "Only the vendor sees usage across subscriptions.")
        until = min(end, self._clock())
        if until <= start:
            return Page([], None)
        async with self._pool.acquire() as connection:
            return await usage_summaries.list_summaries(connection, by, start, until, limit=limit, cursor=cursor)
