"""Consumption across subscriptions. Vendor only."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query

from services.reporting.api.answers.usage_summaries import UsageSummaries
from services.reporting.api.fields import At, Cursor, Limit, check_order
from services.reporting.api.routing import CurrentCaller, new_router
from services.reporting.api.usage import KEPT, check_kept
from services.reporting.queries.usage_summaries import UsageSummaryQueries
from services.reporting.store.usage_summaries import SummaryKey


def usage_summaries_router(queries: UsageSummaryQueries, clock: Callable[[], datetime]) -> APIRouter:
    """``/v1/usage/summary``."""
    router = new_router("usage", "/usage")

    @router.get("/summary", response_model=UsageSummaries)
    async def summary(
        caller: CurrentCaller,
        by: SummaryKey,
        *,
        start: Annotated[At | None, Query(alias="from")] = None,
        end: Annotated[At | None, Query(alias="to")] = None,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> Any:
        """Sum up what all subscriptions consumed.

        By product, account, subscription or month (UTC); without ``from``, of the last 12 months. ``average_level`` is
        the average over the period of the units of meters that start anew in each window; ``burned_down`` are the units
        that the windows which began in the period added to the others.
        """
        now = clock()
        kept_from = now - timedelta(days=KEPT["window"].days)
        check_kept(kept_from, "window", start, end)
        since, until = start or kept_from, end or now
        check_order(since, until)
        return await queries.summaries(caller, by, since, until, limit=limit, cursor=cursor)

    return router
