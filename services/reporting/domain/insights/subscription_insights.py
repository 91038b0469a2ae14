"""The insights of a subscription: its forecast, compared with what it has now.

The forecast is a stored one, so it is compared with present consumption, allocations and purchases, not with those of
the day on which it was made.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from services.reporting.domain.current_term import CurrentTerm
from services.reporting.domain.insights.accuracy import Accuracy
from services.reporting.domain.insights.evidence import Evidence, closed_windows, find_evidence
from services.reporting.domain.insights.facts import Facts
from services.reporting.domain.insights.forecasts import ScopeForecast, is_forecast
from services.reporting.domain.insights.needs import Present
from services.reporting.domain.insights.paths import Limit, Path
from services.reporting.domain.insights.proposed_plan import NoProposal, Proposal, propose
from services.reporting.domain.insights.run_outs import RunOut, limits_of_pool, run_out_of
from services.reporting.domain.insights.sentences import no_forecast_sentence, run_out_sentence
from services.reporting.domain.overview import Period
from services.reporting.domain.subscription_overview import overview_of


@dataclass(frozen=True, slots=True)
class ScopeInsight:
    """The forecast of the pool (``product`` is ``None``) or of a product, for people.

    ``limit``: what is purchased or allocated. ``accuracy`` is ``None`` before a window has closed after a forecast.
    """

    product: str | None
    name: str | None
    run_out: RunOut
    path: Path
    sentence: str
    accuracy: Accuracy | None


@dataclass(frozen=True, slots=True)
class Insights:
    """What a subscription's people are shown.

    ``made_at``: when the forecast was made. ``plan``: the proposal, or why there is none.
    """

    subscription: str
    version: int
    made_at: datetime
    term: Period
    pool: ScopeInsight
    products: tuple[ScopeInsight, ...]
    evidence: tuple[Evidence, ...]
    plan: Proposal | NoProposal


def insights_of(
    facts: Facts, made_at: datetime, scopes: Sequence[ScopeForecast], accuracies: Sequence[Accuracy]
) -> Insights:
    """Compare a forecast with a subscription as it is now."""
    subscription, now, figures = facts.subscription, facts.now, facts.figures()
    overview, current = overview_of(subscription, facts.catalogue, figures, now), CurrentTerm.of(subscription, now)
    closed = {
        str(one.product): closed_windows(one, figures.get(one.product, ()), current)
        for one in subscription.active_products
    }
    by_scope = {one.product: one for one in scopes}
    of_scope = {one.product: one for one in accuracies}

    def insight(product: str | None, name: str | None, consumed: int, limits: Sequence[Limit]) -> ScopeInsight:
        if not is_forecast(subscription, now):
            run_out = RunOut("not_forecast", consumed, limits[0].units, 0, overview.term.end)
            return ScopeInsight(product, name, run_out, (), no_forecast_sentence(subscription, now), None)
        forecast = by_scope.get(product)
        run_out = run_out_of(forecast, consumed, limits, overview.term.end, now)
        sentence = run_out_sentence(run_out, name, overview.unit_label, now)
        return ScopeInsight(product, name, run_out, forecast.path if forecast else (), sentence, of_scope.get(product))

    present = Present(
        subscription,
        overview,
        closed,
        {one.product: one for one in scopes if one.product is not None},
        frozenset(one for one, known in facts.catalogue.items() if known.retired_at is not None),
        facts.flex_enabled,
        now,
    )
    return Insights(
        subscription.id,
        subscription.version,
        made_at,
        overview.term,
        insight(None, None, overview.consumed, limits_of_pool(subscription, now)),
        tuple(insight(one.product, one.name, one.consumed, (Limit(now, one.allocated),)) for one in overview.products),
        find_evidence(overview.products, closed, overview.unit_label),
        propose(present),
    )
