"""The rows of every report: in steps of any size, and typed as their columns say."""

from datetime import date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.reporting.domain.reports.catalogue import REPORTS
from services.reporting.domain.reports.columns import ColumnType
from services.reporting.queries.report_sources.opening import SOURCES, open_source
from services.reporting.store.consistent_read import consistent_read
from tests.support.builders.published import AUDITOR, PRIMARY, VENDOR
from tests.support.builders.reports import consumption, days, recorded, states
from tests.support.drivers.report_rows import read_rows, report_request
from tests.support.drivers.reporting import ReportingDriver

TYPES: dict[ColumnType, type] = {
    "text": str,
    "integer": int,
    "decimal": Decimal,
    "timestamp": datetime,
    "date": date,
    "boolean": bool,
}


@pytest.fixture
async def full(empty: ReportingDriver) -> ReportingDriver:
    """Fill every report."""
    await empty.apply(*states())
    await empty.measure(*consumption())
    await empty.measure_days(*days())
    return empty


def test_every_report_has_a_source() -> None:
    assert set(REPORTS) == set(SOURCES)


async def test_rows_are_the_same_whatever_the_sizes_of_steps(full: ReportingDriver) -> None:
    for report in SOURCES:
        for who in (VENDOR, PRIMARY, AUDITOR) if REPORTS[report].audience != "vendor" else (VENDOR,):
            request = report_request(report, who)
            whole = await read_rows(full, request)
            assert whole, (report, who)
            assert len(set(map(str, whole))) == len(whole), "each row once"
            for size in (1, 2, 3, 1000):
                assert await read_rows(full, request, [size]) == whole, (report, who, size)


async def test_values_have_the_types_of_their_columns(full: ReportingDriver) -> None:
    for report in SOURCES:
        request = report_request(report)
        for row in await read_rows(full, request):
            for column, value in zip(request.report.columns, row, strict=True):
                where = report, column.name, value
                if value is None:
                    assert column.nullable, where
                else:
                    assert type(value) is TYPES[column.type], where
                if isinstance(value, datetime):
                    assert value.utcoffset() == timedelta(0), where
                if isinstance(value, Decimal):
                    assert value == round(value, column.scale), where


async def test_the_estimate_is_not_below_the_rows_of_simple_tables(full: ReportingDriver) -> None:
    for report in SOURCES:
        request = report_request(report)
        async with consistent_read(full.runtime.pool) as connection:
            estimated = await open_source(request).count(connection)
        least = 1 if report.startswith("usage-by-") else len(await read_rows(full, request))
        assert estimated >= least, report


async def test_audit_rows_do_not_depend_on_the_steps_with_any_filter(full: ReportingDriver) -> None:
    """Few of many records are wanted, so that most steps find none."""
    await full.apply(*(recorded(100 + n, outcome="denied" if n % 9 == 0 else "allowed") for n in range(60)))
    for outcome in ("allowed", "denied"):
        request = report_request("audit", parameters={"outcome": outcome})
        rows = await read_rows(full, request)
        assert [row[0] for row in rows] == list(range(1, len(rows) + 1))
        assert [row[-1] for row in rows] == [False] * (len(rows) - 1) + [True]
        for sizes in ([1], [2], [7, 1, 30], [1000]):
            assert await read_rows(full, request, sizes) == rows, sizes


async def test_steps_of_any_sizes_give_the_same_rows(full: ReportingDriver) -> None:
    sizes = st.lists(st.integers(1, 12), min_size=1, max_size=6)
    requests = [
        report_request(one, who) for one in ("audit", "allocation-history", "alerts") for who in (VENDOR, AUDITOR)
    ]
    whole = [await read_rows(full, one) for one in requests]
    found: list[list[int]] = []

    @settings(max_examples=25, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(sizes)
    def choose(some: list[int]) -> None:
        found.append(some)

    choose()
    for some in found:
        for request, rows in zip(requests, whole, strict=True):
            assert await read_rows(full, request, some) == rows, some
