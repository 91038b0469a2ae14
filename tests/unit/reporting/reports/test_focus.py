"""The Contract Commitment dataset of FOCUS 1.4: columns, statuses, metadata."""

import csv
import io
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from focus_data_toolkit.model import column_spec, dataset_columns, lint_focus_1_4_structure

from services.reporting.domain.reports.columns import Row, Value
from services.reporting.domain.reports.focus import duration_type, focus_rows, lifecycle_status
from services.reporting.domain.reports.focus_columns import FOCUS_COMMITMENTS
from services.reporting.domain.reports.focus_metadata import focus_metadata
from services.reporting.domain.subscription_overview import overview_of
from shared.events.envelope import rfc3339
from shared.events.state import Lot, SubscriptionState, Term
from tests.support.builders.published import NOW, START, subscription
from tests.support.builders.report_files import report_file
from tests.support.builders.reports import PRICE, YEAR, lot

DATASET = "Contract Commitment"
NOT_OURS = {"PricingCurrency", "PricingCurrencyContractCommitmentCost"}
"""Columns for pricing in another currency than billing, which does not occur."""
OURS = ["x_AllocatedQuantity", "x_ConsumedQuantity"]
NAMES = [one.name for one in FOCUS_COMMITMENTS.columns]


def rows_of(state: SubscriptionState, now: datetime = NOW) -> list[Row]:
    """The rows of a subscription without usage."""
    return list(focus_rows(state, overview_of(state, {}, {}, now), None, now))


def as_csv(rows: Sequence[Row]) -> list[dict[str, str]]:
    """Rows as a reader of the CSV file gets them."""
    text = report_file(FOCUS_COMMITMENTS, "csv", rows).decode()
    return list(csv.DictReader(io.StringIO(text, newline="")))


def cell(row: Row, name: str) -> Value:
    """A cell of a row."""
    return row[NAMES.index(name)]


def test_the_columns_are_those_of_the_specification_and_two_of_our_own() -> None:
    assert set(NAMES) == (set(dataset_columns(DATASET)) - NOT_OURS) | set(OURS)
    assert NAMES[-2:] == OURS
    for column in FOCUS_COMMITMENTS.columns[:-2]:
        spec = column_spec(DATASET, column.name)
        assert spec["allows_nulls"] or not column.nullable, column.name
        kind = {"String": "text", "JSON": "text", "Decimal": "decimal", "Date/Time": "timestamp"}[spec["data_type"]]
        assert column.type == kind, column.name


def test_columns_that_we_leave_out_are_conditional() -> None:
    for name in NOT_OURS:
        assert column_spec(DATASET, name)["condition"] == "Supports pricing and billing in different currencies"


def state_with(*lots: Lot, **more: Any) -> SubscriptionState:
    """A subscription with these lots."""
    return subscription(lots=lots, **more)


VOIDED = {"voided_at": NOW - timedelta(days=1), "void_reason": "wrong"}
AFTER = START + YEAR
STATUSES: list[tuple[str, dict[str, Any], dict[str, Any], datetime]] = [
    ("Active", {}, {}, NOW),
    ("Pending", {"start": NOW + timedelta(days=1)}, {}, NOW),
    ("Pending", {}, {"state": "pending"}, NOW),
    ("Exhausted", {}, {"state": "exhausted"}, NOW),
    ("Expired", {"end": NOW}, {}, NOW),
    ("Expired", {}, {"state": "grace"}, AFTER + timedelta(days=1)),
    ("Expired", {}, {"state": "read_only"}, AFTER + timedelta(days=60)),
    ("Expired", {}, {"state": "expired"}, AFTER + timedelta(days=200)),
    ("Canceled", VOIDED, {}, NOW),
    ("Canceled", {}, {"state": "cancelled", "cancelled_at": NOW}, NOW),
    ("Expired", {"end": NOW - timedelta(days=9)}, {"state": "cancelled", "cancelled_at": NOW}, NOW),
    (
        "Superseded",
        {"end": AFTER},
        {"terms": [Term(start=START, end=NOW), Term(start=NOW, end=AFTER)]},
        NOW + timedelta(days=1),
    ),
    ("Active", {"end": AFTER}, {"terms": [Term(start=START, end=AFTER), Term(start=AFTER, end=AFTER + YEAR)]}, NOW),
]


@pytest.mark.parametrize(("status", "of_lot", "of_state", "now"), STATUSES)
def test_the_status_of_a_lot(status: str, of_lot: dict[str, Any], of_state: dict[str, Any], now: datetime) -> None:
    one = lot("lot-1", 100, **of_lot)
    state = state_with(one, **of_state)
    assert lifecycle_status(state, one, now) == status
    (row,) = as_csv(rows_of(state, now))
    assert row["ContractCommitmentLifecycleStatus"] == status
    report = lint_focus_1_4_structure(DATASET, [row])
    assert report.ok, report.messages()


@pytest.mark.parametrize(
    ("start", "end", "duration"),
    [
        ((2026, 1, 1), (2027, 1, 1), "1 Year"),
        ((2026, 1, 1), (2029, 1, 1), "3 Years"),
        ((2026, 1, 31), (2026, 2, 28), "1 Month"),
        ((2026, 1, 1), (2027, 7, 1), "18 Months"),
        ((2028, 2, 29), (2029, 2, 28), "1 Year"),
        ((2026, 1, 1), (2026, 1, 16), "15 Days"),
        ((2026, 1, 1), (2026, 1, 2), "1 Day"),
        ((2026, 12, 15), (2027, 1, 16), "32 Days"),
    ],
)
def test_the_length_of_a_commitment(start: tuple[int, int, int], end: tuple[int, int, int], duration: str) -> None:
    assert duration_type(datetime(*start, tzinfo=UTC), datetime(*end, tzinfo=UTC)) == duration


def test_a_day_that_has_begun_counts_in_a_length() -> None:
    assert duration_type(START, START + timedelta(hours=1)) == "1 Day"
    assert duration_type(START, START + timedelta(days=2, seconds=1)) == "3 Days"


def test_what_is_not_known_is_null_and_never_invented() -> None:
    priced, free = rows_of(state_with(lot("lot-1", 1000, price=PRICE), lot("lot-2", 50, NOW)))
    assert cell(priced, "ContractCommitmentCost") == Decimal("8500.00")
    assert cell(priced, "BillingCurrency") == "EUR"
    assert cell(priced, "ContractCommitmentDiscountPercentage") == Decimal("0.15")
    assert cell(priced, "ContractCommitmentOfferCategory") == "Public"
    for name in ("ContractCommitmentCost", "BillingCurrency", "ContractCommitmentDiscountPercentage"):
        assert cell(free, name) is None
    assert cell(free, "ContractCommitmentOfferCategory") == "Negotiated"
    report = lint_focus_1_4_structure(DATASET, as_csv([priced, free]))
    assert report.ok, report.messages()


def test_quantities_of_the_pool_stand_beside_lots_that_count() -> None:
    later = lot("lot-2", 10, NOW, start=NOW + timedelta(days=1))
    counting, waiting = rows_of(state_with(lot("lot-1", 1000), later))
    assert (cell(counting, "x_AllocatedQuantity"), cell(counting, "x_ConsumedQuantity")) == (Decimal(400), Decimal(0))
    assert (cell(waiting, "x_AllocatedQuantity"), cell(waiting, "x_ConsumedQuantity")) == (None, None)


def test_a_row_was_last_updated_when_something_of_it_changed() -> None:
    one = lot("lot-1", 1000, START - timedelta(days=9))
    state = state_with(one)
    overview = overview_of(state, {}, {}, NOW)

    def updated(allocated_at: datetime | None, now: datetime = NOW) -> Value:
        (row,) = focus_rows(state, overview, allocated_at, now)
        return cell(row, "ContractCommitmentLastUpdated")

    assert updated(None, START - timedelta(days=1)) == one.purchased_at
    assert updated(None) == START, "it became active"
    assert updated(NOW - timedelta(days=1)) == NOW - timedelta(days=1)
    assert updated(NOW + timedelta(days=1)) == START, "the future is not known"


def test_the_linter_finds_what_is_wrong() -> None:
    """It checks structure, nulls, formats, and the rules within a row."""
    (row,) = as_csv(rows_of(state_with(lot("lot-1", 1000))))
    for name, value in (
        ("ContractCommitmentLifecycleStatus", "Live"),
        ("ContractCommitmentApplicability", "{}"),
        ("ContractCommitmentPaymentUpfrontPercentage", "0.5"),
        ("ContractCommitmentLastUpdated", "2001-01-01T00:00:00Z"),
        ("ContractPeriodEnd", "2026-12-31"),
        ("ContractId", ""),
        ("ContractCommitmentQuantity", "1e3"),
    ):
        assert not lint_focus_1_4_structure(DATASET, [row | {name: value}]).ok, name


def test_the_metadata_describe_the_file_and_how_recent_it_is() -> None:
    made_at = NOW + timedelta(minutes=1)
    document = json.loads(focus_metadata("export-1", NOW, made_at))
    assert list(document) == ["DataGenerator", "DatasetInstance", "Recency", "Schema"]
    (instance,), (recency,), (schema,) = document["DatasetInstance"], document["Recency"], document["Schema"]
    assert instance["FocusDatasetId"] == "ContractCommitment"
    assert recency == {
        "DatasetInstanceId": "export-1",
        "RecencyLastUpdated": rfc3339(made_at),
        "DatasetInstanceLastUpdated": rfc3339(NOW),
        "DatasetInstanceComplete": True,
    }
    assert {one["DatasetInstanceId"] for one in (instance, recency, schema)} == {"export-1"}
    assert schema["FocusVersion"] == "1.4"
    assert [one["ColumnName"] for one in schema["ColumnDefinition"]] == NAMES
    assert focus_metadata("export-1", NOW, made_at) == focus_metadata("export-1", NOW, made_at)
