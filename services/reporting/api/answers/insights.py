"""Insights: forecasts, run-outs, over- and under-used products, and a proposal."""

from datetime import datetime
from typing import Literal

from services.reporting.api.answers.shapes import Span
from services.reporting.api.fields import AnswerBody
from services.reporting.domain.insights import accuracy as accuracy_domain
from services.reporting.domain.insights import evidence as evidence_domain
from services.reporting.domain.insights import subscription_insights as domain
from services.reporting.domain.insights.proposed_plan import NoProposal, Proposal
from services.reporting.domain.insights.run_outs import RunOutBasis


class Point(AnswerBody):
    """Expected consumption. ``low``, ``high``: a range of 80 %; null: not known."""

    at: datetime
    low: int | None
    median: int
    high: int | None


class RunOut(AnswerBody):
    """When the units are used up; null: not before ``reaches``, the forecast's end."""

    around: datetime | None
    earliest: datetime | None
    latest: datetime | None
    reaches: datetime | None
    before_term_end: bool


class Accuracy(AnswerBody):
    """The errors of earlier forecasts, over ``compared`` values of closed windows."""

    compared: int
    mean_error: int
    mean_error_percent: float | None
    with_range: int
    within_range_percent: float | None


class Forecast(AnswerBody):
    """The forecast of the pool (``product`` null) or of a product.

    ``limit``: what is purchased or allocated. ``windows``: closed windows that it was made of. ``accuracy`` is null
    before a forecast could be compared.
    """

    product: str | None
    name: str | None
    consumed: int
    limit: int
    basis: RunOutBasis
    windows: int
    points: list[Point]
    run_out: RunOut
    sentence: str
    accuracy: Accuracy | None


class WindowUse(AnswerBody):
    start: datetime
    end: datetime
    consumed: int
    utilisation: float | None


class Finding(AnswerBody):
    """A product that is over- or under-used. Its closed windows: newest first."""

    product: str
    name: str
    finding: Literal["over", "under", "idle"]
    allocated: int
    consumed: int
    windows: list[WindowUse]
    sentence: str


class ProposedChange(AnswerBody):
    product: str
    name: str
    before: int
    after: int


class PlanChange(AnswerBody):
    product: str
    units: int


class PreviewBody(AnswerBody):
    """The body of ``POST .../rebalances`` that previews the plan."""

    changes: list[PlanChange]
    preview: Literal[True]


class ProposedPlan(AnswerBody):
    """A plan.

    To apply it, send it without ``preview``, and ``for_version`` as ``If-Match``. ``unmet_before``, ``unmet_after``:
    units that products are expected to need ``until`` then beyond their allocations.
    """

    changes: list[ProposedChange]
    for_version: int
    until: datetime
    unmet_before: int
    unmet_after: int
    sentence: str
    preview: PreviewBody


class Insights(AnswerBody):
    """``made_at``: when the forecast was made; all else is as of now.

    ``proposal`` is null with a ``proposal_reason``.
    """

    subscription: str
    version: int
    made_at: datetime
    term: Span
    pool: Forecast
    products: list[Forecast]
    over_used: list[Finding]
    under_used: list[Finding]
    proposal: ProposedPlan | None
    proposal_reason: str | None


def insights_answer(insights: domain.Insights) -> Insights:
    """Convert insights to the API's answer."""
    term, plan = insights.term, insights.plan
    return Insights(
        subscription=insights.subscription,
        version=insights.version,
        made_at=insights.made_at,
        term=Span(start=term.start, end=term.end, days_left=term.days_left),
        pool=_forecast(insights.pool),
        products=[_forecast(one) for one in insights.products],
        over_used=[_finding(one) for one in insights.evidence if one.finding == "over"],
        under_used=[_finding(one) for one in insights.evidence if one.finding != "over"],
        proposal=None if isinstance(plan, NoProposal) else _proposal(plan),
        proposal_reason=plan.reason if isinstance(plan, NoProposal) else None,
    )


def _forecast(scope: domain.ScopeInsight) -> Forecast:
    run_out = scope.run_out
    return Forecast(
        product=scope.product,
        name=scope.name,
        consumed=run_out.consumed,
        limit=run_out.limit,
        basis=run_out.basis,
        windows=run_out.windows,
        points=[Point(at=one.at, low=one.low, median=one.median, high=one.high) for one in scope.path],
        run_out=RunOut(
            around=run_out.around,
            earliest=run_out.earliest,
            latest=run_out.latest,
            reaches=run_out.reaches,
            before_term_end=run_out.is_before_term_end,
        ),
        sentence=scope.sentence,
        accuracy=scope.accuracy and _accuracy(scope.accuracy),
    )


def _accuracy(accuracy: accuracy_domain.Accuracy) -> Accuracy:
    return Accuracy(
        compared=accuracy.compared,
        mean_error=accuracy.mean_error,
        mean_error_percent=accuracy.mean_error_percent,
        with_range=accuracy.with_range,
        within_range_percent=accuracy.within_range_percent,
    )


def _finding(evidence: evidence_domain.Evidence) -> Finding:
    return Finding(
        product=evidence.product,
        name=evidence.name,
        finding=evidence.finding,
        allocated=evidence.allocated,
        consumed=evidence.consumed,
        windows=[
            WindowUse(start=one.start, end=one.end, consumed=one.consumed, utilisation=one.utilisation)
            for one in evidence.windows
        ],
        sentence=evidence.sentence,
    )


def _proposal(plan: Proposal) -> ProposedPlan:
    return ProposedPlan(
        changes=[
            ProposedChange(product=one.product, name=one.name, before=one.before, after=one.after)
            for one in plan.changes
        ],
        for_version=plan.for_version,
        until=plan.until,
        unmet_before=plan.unmet_before,
        unmet_after=plan.unmet_after,
        sentence=plan.sentence,
        preview=PreviewBody(
            changes=[PlanChange(product=one.product, units=one.after) for one in plan.changes], preview=True
        ),
    )
