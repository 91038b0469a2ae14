"""The forecast of one subscription: made, stored with its inputs, and published."""

from collections.abc import Iterator
from datetime import datetime
from typing import Final

from services.reporting.domain.current_term import current_window
from services.reporting.domain.insights.accuracy import accuracies
from services.reporting.domain.insights.forecasts import METHOD
from services.reporting.domain.insights.proposed_plan import Proposal
from services.reporting.domain.insights.subscription_forecast import SubscriptionForecast
from services.reporting.domain.insights.subscription_insights import Insights, ScopeInsight, insights_of
from services.reporting.queries.insights import load_facts, make_forecasts
from services.reporting.store.insights import load_earlier, upsert_forecast
from services.reporting.store.products import find_products
from services.reporting.store.subscriptions import find_subscription
from shared.events.ids import ProductId, SubscriptionId
from shared.events.reporting import ForecastMade, RunOutForecast
from shared.events.topics import REPORTING_EVENTS_TOPIC
from shared.runtime.delivery.transaction import Transaction

COMPARED_WINDOWS: Final = 8
"""Most earlier windows whose forecasts are compared with what happened."""


async def make_forecast(tx: Transaction, subscription: str) -> None:
    """Make a subscription's forecast, store it, and publish it with this transaction."""
    state = await find_subscription(tx.connection, subscription)
    if state is None:
        return
    catalogue = await find_products(tx.connection, [one.product for one in state.active_products])
    facts = await load_facts(tx.connection, state, catalogue, tx.now)
    window, term = current_window(state, tx.now).start, state.term_at(tx.now)
    earlier = await load_earlier(tx.connection, subscription, window, term.start, COMPARED_WINDOWS)
    scopes = await make_forecasts(facts)
    forecast = SubscriptionForecast(
        subscription=subscription,
        version=0,
        subscription_version=state.version,
        made_at=tx.now,
        method=METHOD,
        window_start=window,
        term_start=term.start,
        inputs=facts.inputs(),
        scopes=scopes,
        accuracies=accuracies(earlier, facts.happened()),
    )
    version = await upsert_forecast(tx.connection, forecast)
    insights = insights_of(facts, tx.now, scopes, forecast.accuracies)
    event = forecast_made(insights, version, term.end)
    await tx.emit(REPORTING_EVENTS_TOPIC, subscription, event, subject=subscription)


def forecast_made(insights: Insights, version: int, term_end: datetime) -> ForecastMade:
    """Build the event of a forecast with this version."""
    return ForecastMade(
        subscription=SubscriptionId(insights.subscription),
        version=version,
        subscription_version=insights.version,
        made_at=insights.made_at,
        term_end=term_end,
        run_outs=tuple(_run_outs(insights)),
        has_proposal=isinstance(insights.plan, Proposal),
    )


def _run_outs(insights: Insights) -> Iterator[RunOutForecast]:
    yield _run_out(insights.pool)
    for product in insights.products:
        yield _run_out(product)


def _run_out(scope: ScopeInsight) -> RunOutForecast:
    run_out = scope.run_out
    return RunOutForecast(
        scope="pool" if scope.product is None else "product",
        product=None if scope.product is None else ProductId(scope.product),
        basis=run_out.basis,
        consumed=run_out.consumed,
        limit=run_out.limit,
        run_out_at=run_out.around,
        earliest=run_out.earliest,
        latest=run_out.latest,
        reaches=run_out.reaches,
    )
