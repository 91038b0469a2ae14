"""The insights of a subscription, from its newest forecast and what it has now."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime

from services.reporting.domain.caller import Caller
from services.reporting.domain.current_term import current_window
from services.reporting.domain.insights.facts import Facts
from services.reporting.domain.insights.forecasts import ScopeForecast, forecasts_of
from services.reporting.domain.insights.series import HISTORY
from services.reporting.domain.insights.subscription_forecast import holds
from services.reporting.domain.insights.subscription_insights import Insights, insights_of
from services.reporting.queries.access import check_roles, is_id, not_found
from services.reporting.store import accounts
from services.reporting.store import subscriptions as store
from services.reporting.store.consistent_read import consistent_read
from services.reporting.store.insights import find_newest_forecast, load_windows
from shared.events.state import ProductState, SubscriptionState
from shared.runtime.postgres.pool import Connection, Pool


class InsightQueries:
    """Reads of insights."""

    def __init__(self, pool: Pool, clock: Callable[[], datetime]) -> None:
        self._pool = pool
        self._clock = clock

    async def insights(self, caller: Caller, subscription: str) -> Insights:
        """Compare the newest forecast with the subscription as it is now.

        Without a stored forecast that holds, as for a new subscription, one is made now and not stored.

        Raises:
            ProblemError: ``not_found``; ``forbidden`` for user administrators.
        """
        now = self._clock()
        async with consistent_read(self._pool) as connection:
            if not is_id(subscription):
                raise not_found("subscription")
            found = await store.find_with_catalogue(connection, subscription, caller.email)
            if found is None:
                raise not_found("subscription")
            state, roles, catalogue = found
            check_roles(caller, roles)
            facts = await load_facts(connection, state, catalogue, now)
            made = await find_newest_forecast(connection, state.id)
        if made is not None and holds(made, facts):
            return insights_of(facts, made.made_at, made.scopes, made.accuracies)
        return insights_of(facts, now, await make_forecasts(facts), ())


async def load_facts(
    connection: Connection, state: SubscriptionState, catalogue: Mapping[str, ProductState], now: datetime
) -> Facts:
    """Load what insights are made of, in the transaction that has read the state."""
    account = await accounts.find_account(connection, state.account)
    rows = await load_windows(connection, state.id, now - HISTORY, current_window(state, now).start)
    return Facts(state, catalogue, account is not None and account.flex_enabled, rows, now)


async def make_forecasts(facts: Facts) -> tuple[ScopeForecast, ...]:
    """Make the forecasts of a subscription; other requests are served in between."""
    scopes = []
    for scope in forecasts_of(facts.subscription, facts.catalogue, facts.rows, facts.now):
        scopes.append(scope)
        await asyncio.sleep(0)
    return tuple(scopes)
