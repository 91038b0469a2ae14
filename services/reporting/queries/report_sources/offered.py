"""The reports that a person may make."""

from services.reporting.domain.caller import Caller
from services.reporting.domain.reports.catalogue import REPORTS
from services.reporting.domain.reports.definitions import Report
from services.reporting.queries.report_sources.opening import SOURCES
from services.reporting.queries.report_sources.scope import may_make
from services.reporting.store.role_rows import find_held
from shared.runtime.postgres.pool import Pool


class ReportQueries:
    """Reads about reports."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def offered(self, caller: Caller) -> list[Report]:
        """List the reports that the caller may make, of some subscription at least."""
        async with self._pool.acquire() as connection:
            held = await find_held(connection, caller.email)
        return [one for one in REPORTS.values() if one.id in SOURCES and may_make(caller, one.audience, held)]
