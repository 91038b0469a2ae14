"""All that the Subscription page shows, read once per request, at one instant."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from services.reporting.domain import permissions
from services.reporting.domain.alerts import CurrentAlert, current_alert
from services.reporting.domain.caller import Caller
from services.reporting.domain.me import Me
from services.reporting.domain.overview import Overview
from services.reporting.domain.usage import UsageItem, UsageRequest
from services.reporting.queries.overviews import load_overview_source
from services.reporting.queries.shown_people import show_people
from services.reporting.queries.subscriptions import NEWEST_ALERTS, list_own, load_me
from services.reporting.queries.usage import load_usage_source
from services.reporting.store import alerts
from services.reporting.store.consistent_read import consistent_read
from shared.runtime.postgres.pool import Pool


@dataclass(frozen=True, slots=True)
class PageContext:
    """A subscription as one person sees it, with their ``permissions`` in it.

    ``me.subscriptions`` are all that the person has; for a vendor operator, who may see all, it is this one alone.
    """

    overview: Overview
    alerts: tuple[CurrentAlert, ...]
    permissions: frozenset[str]
    me: Me
    now: datetime


@dataclass(frozen=True, slots=True)
class UsageContext:
    """A subscription, and the usage of each of its windows."""

    overview: Overview
    items: list[UsageItem]


class PageContexts:
    """Reads of the page."""

    def __init__(self, pool: Pool, clock: Callable[[], datetime]) -> None:
        self._pool = pool
        self._clock = clock

    async def page(self, caller: Caller, subscription: str, me: Me | None = None) -> PageContext:
        """Load the page's context. ``me``: the caller, if the request has them already.

        Raises:
            ProblemError: ``not_found``; ``forbidden`` for user administrators.
        """
        now = self._clock()
        async with consistent_read(self._pool) as connection:
            source = await load_overview_source(connection, caller, subscription, now)
            active = await alerts.list_alerts(connection, subscription, NEWEST_ALERTS, None, active_only=True)
            shown = await show_people(connection, active.items, "acknowledged_by")
            me = me or await load_me(connection, caller, [] if caller.vendor else await list_own(connection, caller))
        overview = source.overview()
        return PageContext(
            overview,
            tuple(current_alert(one, overview) for one in shown),
            frozenset(permissions.permissions_of(source.roles)),
            me,
            now,
        )

    async def usage(self, caller: Caller, subscription: str, start: datetime, end: datetime) -> UsageContext:
        """Load the overview, and each product's usage from its first measured window on.

        Raises:
            ProblemError: ``not_found``; ``forbidden``.
        """
        now = self._clock()
        async with consistent_read(self._pool) as connection:
            source = await load_overview_source(connection, caller, subscription, now)
            request = UsageRequest(source.subscription, start, end, now, measured_only=True)
            measured = await load_usage_source(connection, request)
        return UsageContext(source.overview(), measured.items())
