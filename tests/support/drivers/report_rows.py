"""Driver of reports: reads all rows of a request, in steps of any sizes."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from itertools import cycle

from services.reporting.domain.caller import Caller
from services.reporting.domain.reports.catalogue import check_parameters, find_report
from services.reporting.domain.reports.columns import Row, Value
from services.reporting.queries.report_rows import ReportRequest
from services.reporting.queries.report_sources.opening import open_source
from services.reporting.queries.report_sources.scope import check_access
from services.reporting.store.consistent_read import consistent_read
from tests.support.builders.published import NOW, VENDOR
from tests.support.drivers.reporting import ReportingDriver

STEPS_MAX = 5000


def report_request(
    report: str, who: str = VENDOR, as_of: datetime = NOW, parameters: Mapping[str, str] | None = None
) -> ReportRequest:
    """Build a request, as the API does after it has checked it."""
    found = find_report(report)
    checked = check_parameters(found, parameters or {}, NOW)
    return ReportRequest(found, checked, as_of, Caller(who, "Somebody", vendor=who == VENDOR))


async def read_rows(driver: ReportingDriver, request: ReportRequest, sizes: Iterable[int] = (1000,)) -> list[Row]:
    """Check who makes the request, and read its rows.

    Each step has a new source, as another process would have.
    """
    async with consistent_read(driver.runtime.pool) as connection:
        await check_access(connection, request.caller, request.report, request.parameters)
    rows: list[Row] = []
    position = None
    for steps, size in enumerate(cycle(sizes)):
        assert steps < STEPS_MAX, "the rows do not end"
        async with consistent_read(driver.runtime.pool) as connection:
            step = await open_source(replace(request)).read(connection, position, size)
        rows += step.rows
        position = step.position
        if position is None:
            return rows
        assert len(position) <= 1000
    raise AssertionError("no sizes")


async def read_objects(
    driver: ReportingDriver, report: str, who: str = VENDOR, as_of: datetime = NOW, **parameters: str
) -> list[dict[str, Value]]:
    """Read the rows of a request as objects; a parameter ``from_`` is ``from``."""
    named = {name.rstrip("_"): value for name, value in parameters.items()}
    request = report_request(report, who, as_of, named)
    names = [one.name for one in request.report.columns]
    return [dict(zip(names, row, strict=True)) for row in await read_rows(driver, request)]
