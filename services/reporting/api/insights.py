"""The insights of a subscription."""

from typing import Any

from fastapi import APIRouter

from services.reporting.api.answers import insights as answers
from services.reporting.api.identifiers import SubscriptionInPath
from services.reporting.api.routing import CurrentCaller, new_router
from services.reporting.queries.insights import InsightQueries


def insights_router(queries: InsightQueries) -> APIRouter:
    """``/v1/subscriptions/{id}/insights``."""
    router = new_router("insights", "/subscriptions/{subscription}")

    @router.get("/insights", response_model=answers.Insights)
    async def insights(caller: CurrentCaller, subscription: SubscriptionInPath) -> Any:
        """Return forecasts, when units run out, and one proposed rebalance.

        Forecasts are made once a day (`made_at`), and at once where there is none yet; they are compared with the
        subscription as it is now. The proposal is a plan for the version `for_version`; `proposal_reason` says why
        there is none.
        """
        return answers.insights_answer(await queries.insights(caller, subscription))

    return router
