"""The Contract Commitment file of FOCUS 1.4, from the database, against a linter.

``focus-data-toolkit`` checks the structure of each row, its formats and allowed values, null where it is not permitted,
the schema of the applicability, and the rules within a row (payment, last update). Rules across datasets, and what
values mean, it cannot check; the official validator does not know FOCUS 1.4 yet.
"""

import csv
import io
from datetime import timedelta
from decimal import Decimal

import pytest
from focus_data_toolkit.model import lint_focus_1_4_structure

from services.reporting.domain.reports.focus_columns import FOCUS_COMMITMENTS
from tests.support.builders.published import NOW, PRIMARY, START, VENDOR, VIEWER
from tests.support.builders.report_files import report_file
from tests.support.builders.reports import OTHER, consumption, states
from tests.support.drivers.report_rows import read_objects, read_rows, report_request
from tests.support.drivers.reporting import ReportingDriver


@pytest.fixture
async def full(empty: ReportingDriver) -> ReportingDriver:
    """Fill every report."""
    await empty.apply(*states())
    await empty.measure(*consumption())
    return empty


@pytest.mark.parametrize(("who", "count"), [(VENDOR, 5), (PRIMARY, 3), (VIEWER, 3), (OTHER, 1)])
async def test_the_file_is_valid(full: ReportingDriver, who: str, count: int) -> None:
    rows = await read_rows(full, report_request("focus-commitments", who), [2])
    text = report_file(FOCUS_COMMITMENTS, "csv", rows).decode()
    read = list(csv.DictReader(io.StringIO(text, newline="")))
    assert len(read) == count
    assert len(read[0]) == 30
    report = lint_focus_1_4_structure("Contract Commitment", read)
    assert report.ok, report.messages()


async def test_commitments_are_the_purchases_with_the_figures_of_the_overview(full: ReportingDriver) -> None:
    rows = await read_objects(full, "focus-commitments", PRIMARY)
    purchases = await read_objects(full, "purchases", PRIMARY)
    shown = await full.get("/v1/subscriptions/sub-1", PRIMARY)
    assert [row["ContractCommitmentId"] for row in rows] == [one["lot"] for one in purchases]
    for row, one in zip(rows, purchases, strict=True):
        assert (row["ContractCommitmentQuantity"], row["ContractCommitmentCost"]) == (one["units"], one["total"])
        assert (row["ContractCommitmentPeriodStart"], row["ContractCommitmentPeriodEnd"]) == (one["start"], one["end"])
        counts = one["valid"]
        assert row["x_AllocatedQuantity"] == (Decimal(shown["allocated"]) if counts else None)
        assert row["x_ConsumedQuantity"] == (Decimal(shown["consumed"]) if counts else None)
    statuses = [row["ContractCommitmentLifecycleStatus"] for row in rows]
    assert statuses == ["Active", "Canceled", "Pending"]
    assert [row["ContractCommitmentLastUpdated"] for row in rows] == [
        NOW,
        NOW - timedelta(days=5),
        NOW - timedelta(days=1),
    ]
    assert {(row["ContractPeriodStart"], row["ContractPeriodEnd"]) for row in rows} == {
        (START, START + timedelta(days=730))
    }
