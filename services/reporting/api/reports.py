"""The reports that can be exported, with their columns."""

from typing import Any

from fastapi import APIRouter

from services.reporting.api.answers import reports as answers
from services.reporting.api.routing import CurrentCaller, new_router
from services.reporting.queries.report_sources.offered import ReportQueries


def reports_router(reports: ReportQueries) -> APIRouter:
    """``/v1/reports``."""
    router = new_router("reports")

    @router.get("/reports", response_model=answers.Reports)
    async def several(caller: CurrentCaller) -> Any:
        """List the reports that the caller may make, of one subscription at least."""
        return answers.Reports(items=[answers.report_description(one) for one in await reports.offered(caller)])

    return router
