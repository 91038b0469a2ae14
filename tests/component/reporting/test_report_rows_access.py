"""Who may make which report: each person of the demo, each report."""

from typing import Any

import pytest

from services.reporting.domain.reports.catalogue import REPORTS
from services.reporting.queries.report_sources.opening import SOURCES
from shared.runtime.http.middleware import ProblemError
from tests.support.builders.published import (
    ALLOCATOR,
    AUDITOR,
    PRIMARY,
    STRANGER,
    USERADMIN,
    VENDOR,
    VIEWER,
    created,
)
from tests.support.builders.reports import OTHER, THERE, acme, consumption, days, states
from tests.support.drivers.report_rows import read_objects, read_rows, report_request
from tests.support.drivers.reporting import ReportingDriver

PEOPLE = (VENDOR, PRIMARY, VIEWER, ALLOCATOR, AUDITOR, USERADMIN, STRANGER)
MAY = {
    "view": {VENDOR, PRIMARY, VIEWER, ALLOCATOR, AUDITOR},
    "view_audit": {VENDOR, PRIMARY, AUDITOR},
    "view_people": {VENDOR, PRIMARY, AUDITOR, USERADMIN},
    "vendor": {VENDOR},
}
OF_SUBSCRIPTION = {one.id for one in REPORTS.values() if one.audience != "vendor"}


@pytest.fixture
async def full(empty: ReportingDriver) -> ReportingDriver:
    """Fill every report."""
    await empty.apply(*states())
    await empty.measure(*consumption())
    await empty.measure_days(*days())
    return empty


async def code_of(driver: ReportingDriver, report: str, who: str, **parameters: str) -> str:
    """Return ``allowed``, or the code with which a request is refused."""
    try:
        await read_rows(driver, report_request(report, who, parameters=parameters))
    except ProblemError as refused:
        return refused.refusal.code
    return "allowed"


@pytest.mark.parametrize("who", PEOPLE)
async def test_who_may_read_it_may_export_it(full: ReportingDriver, who: str) -> None:
    offered = [one["id"] for one in (await full.get("/v1/reports", who))["items"]]
    for report in SOURCES:
        allowed = who in MAY[REPORTS[report].audience]
        assert await code_of(full, report, who) == ("allowed" if allowed else "forbidden"), report
        assert (report in offered) is allowed, report
        if report in OF_SUBSCRIPTION:
            refused = "not_found" if who == STRANGER else "forbidden"
            assert await code_of(full, report, who, subscription="sub-1") == ("allowed" if allowed else refused), report
            assert await code_of(full, report, who, account="acme") == ("allowed" if allowed else refused), report
            for hidden in ("sub-3", "no-such"):
                seen = who == VENDOR and hidden == "sub-3"
                code = await code_of(full, report, who, subscription=hidden)
                assert code == ("allowed" if seen else "not_found"), report


async def test_the_list_of_reports_describes_their_columns(full: ReportingDriver) -> None:
    items = (await full.get("/v1/reports"))["items"]
    assert [one["id"] for one in items] == [one for one in REPORTS if one in SOURCES]
    for item in items:
        report = REPORTS[item["id"]]
        assert [(one["name"], one["type"]) for one in item["columns"]] == [
            (one.name, one.type) for one in report.columns
        ]
        assert item["formats"] == list(report.formats)
        assert [one["name"] for one in item["parameters"]] == list(report.parameter_names)
        assert (item["audience"], item["has_history"]) == (report.audience, report.has_history)
    assert (await full.get("/v1/reports", STRANGER))["items"] == []


async def test_rows_are_those_of_visible_subscriptions(full: ReportingDriver) -> None:
    """Nobody of one subscription sees a row of another; the vendor may choose."""
    for report in sorted(OF_SUBSCRIPTION & set(SOURCES)):

        async def seen(who: str, report: str = report, **parameters: str) -> set[Any]:
            column = "ContractId" if report == "focus-commitments" else "subscription"
            rows = await read_objects(full, report, who, **parameters)  # type: ignore[arg-type]
            return {row[column] for row in rows} - {None}

        assert await seen(PRIMARY) <= {"sub-1"}
        assert await seen(THERE) <= {"sub-2"}
        assert await seen(OTHER) <= {"sub-3"}
        every = await seen(VENDOR)
        assert every >= await seen(PRIMARY) | await seen(THERE) | await seen(OTHER)
        assert await seen(VENDOR, account="globex") == every & {"sub-3"}
        assert await seen(VENDOR, subscription="sub-1") == every & {"sub-1"}
        assert await seen(VENDOR, subscription="sub-1", account="globex") == set()


async def test_a_person_who_lost_their_role_may_no_longer_make_it(full: ReportingDriver) -> None:
    request = report_request("allocation-history", VIEWER)
    assert len(await read_rows(full, request)) == 3
    await full.apply(created(acme().model_copy(update={"grants": (), "version": 9})))
    assert await code_of(full, "allocation-history", VIEWER) == "forbidden"
