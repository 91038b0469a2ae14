"""Checks of what is requested of a report: each wrong request names its field."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.reporting.domain.reports.catalogue import (
    REPORTS,
    ParameterError,
    check_as_of,
    check_format,
    check_parameters,
    find_report,
)
from services.reporting.domain.reports.definitions import ReportId

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)


def check(report: str, **params: Any) -> dict[str, str]:
    """Check parameters; ``from_`` is ``from``."""
    return dict(check_parameters(find_report(report), {name.rstrip("_"): one for name, one in params.items()}, NOW))


WRONG: list[tuple[str, dict[str, Any], str, str]] = [
    ("audit", {"colour": "red"}, "colour", "is not a parameter of this report"),
    ("purchases", {"from_": "2026-11-01"}, "from", "is not a parameter of this report"),
    ("audit", {"from_": "2026-11-02T00:00:00Z", "to": "2026-11-01T00:00:00Z"}, "to", "must be after from"),
    ("audit", {"from_": "2026-11-02T00:00:00Z", "to": "2026-11-02T00:00:00Z"}, "to", "must be after from"),
    ("audit", {"from_": "2026-11-02", "to": "2026-11-01"}, "to", "must be after from"),
    ("audit", {"from_": "yesterday"}, "from", "must be a time like"),
    ("audit", {"from_": "2026-13-01"}, "from", "must be a time like"),
    ("audit", {"from_": "1730000000"}, "from", "must be a time like"),
    ("audit", {"from_": "2026-11-02T00:00:00 02:00"}, "from", "must be a time like"),
    ("audit", {"from_": "2026-11-02T00:00:00"}, "from", "must have an offset"),
    ("audit", {"from_": "0001-01-01"}, "from", "must be between the years"),
    ("audit", {"to": "9999-12-31"}, "to", "must be a time like"),
    ("audit", {"from_": 5}, "from", "must be printable text"),
    ("audit", {"subscription": "Sub 1"}, "subscription", "is not the id of a subscription"),
    ("audit", {"account": ""}, "account", "must be printable text"),
    ("alerts", {"product": "../x"}, "product", "is not the id of a product"),
    ("usage-by-hour", {"meter": "x" * 65}, "meter", "is not the id of a meter"),
    ("audit", {"action": "no-such-thing"}, "action", "is not an action that is audited"),
    ("audit", {"outcome": "maybe"}, "outcome", "must be one of allowed, denied"),
    ("audit", {"actor": "a\nb"}, "actor", "must be printable text"),
    ("audit", {"actor": "x" * 255}, "actor", "must be printable text of at most 254"),
    ("quarantine", {"reason": "bored"}, "reason", "must be one of malformed"),
    ("alerts", {"flavour": "vanilla"}, "flavour", "must be one of raw, spreadsheet"),
    *(
        ("usage-by-day", {"tz": zone}, "tz", "is not a time zone")
        for zone in ("Europe/Nowhere", "Europe", "../../etc/passwd", "/etc/localtime", "UTC ", "+02:00")
    ),
    ("usage-by-window", {"from_": "2025-11-01"}, "from", "is before 2025-11-29T12:00:00Z: this usage is retained"),
    ("usage-by-day", {"to": "2025-10-01"}, "to", "retained for 395 days"),
    ("usage-by-hour", {"from_": "2026-10-01"}, "from", "retained for 45 days"),
    ("usage-by-hour", {"from_": "2026-11-20", "to": "2027-11-20"}, "to", "is more than 45 days after from"),
]


@pytest.mark.parametrize(("report", "params", "field", "words"), WRONG)
def test_a_wrong_parameter_is_named(report: str, params: dict[str, Any], field: str, words: str) -> None:
    with pytest.raises(ParameterError) as caught:
        check(report, **params)
    assert caught.value.field == field
    assert words in caught.value.message


def test_parameters_are_normalised_so_that_equal_requests_are_equal() -> None:
    one = check("audit", from_="2026-11-01T02:00:00+02:00", actor="Paula@ACME.example", outcome="denied")
    other = check("audit", outcome="denied", actor="paula@acme.example", from_="2026-11-01")
    assert one == other == {"from": "2026-11-01T00:00:00Z", "actor": "paula@acme.example", "outcome": "denied"}
    assert list(one) == list(other), "also in their order"
    assert check("audit") == {}
    assert check("audit", subscription=None) == {}


def test_a_day_is_from_its_start_to_its_end_in_the_time_zone() -> None:
    assert check("audit", from_="2026-11-01", to="2026-11-01") == {
        "from": "2026-11-01T00:00:00Z",
        "to": "2026-11-02T00:00:00Z",
    }
    changed = check("usage-by-day", from_="2026-10-25", to="2026-10-25", tz="Europe/Berlin")
    assert (changed["from"], changed["to"]) == ("2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"), "a day of 25 hours"


def test_usage_is_requested_for_all_of_its_retention() -> None:
    assert check("usage-by-window", from_="2025-11-30", to="2026-11-30")
    assert check("usage-by-day", from_="2025-11-01", to="2026-11-30")
    assert check("usage-by-hour", from_="2026-10-17", to="2026-11-29")
    assert check("audit", from_="2001-01-01", to="2026-11-29"), "the audit log is retained permanently"


@pytest.mark.parametrize("report", REPORTS)
def test_the_instant_is_past_and_of_a_report_with_history(report: ReportId) -> None:
    found, past = REPORTS[report], NOW - timedelta(days=1)
    assert check_as_of(found, None, NOW) == NOW
    if found.has_history:
        assert check_as_of(found, past, NOW) == past
        assert check_as_of(found, NOW, NOW) == NOW
        with pytest.raises(ParameterError, match="as_of is in the future"):
            check_as_of(found, NOW + timedelta(microseconds=1), NOW)
        with pytest.raises(ParameterError, match="must have an offset"):
            check_as_of(found, datetime(2026, 1, 1), NOW)  # noqa: DTZ001  # that is what is wrong
    else:
        with pytest.raises(ParameterError, match="as_of cannot be given"):
            check_as_of(found, past, NOW)


def test_reports_with_history_are_those_whose_past_is_stored() -> None:
    assert {one.id for one in REPORTS.values() if one.has_history} >= {
        "audit",
        "allocation-history",
        "purchases",
        "alerts",
    }
    for without in ("quarantine", "deliveries", "reconciliation", "usage-by-window"):
        assert not find_report(without).has_history


def test_a_format_is_one_of_the_report() -> None:
    assert check_format(find_report("subscription-summary"), "pdf") == "pdf"
    assert check_format(find_report("audit"), "parquet") == "parquet"
    for wrong in ("pdf", "doc", ""):
        with pytest.raises(ParameterError) as caught:
            check_format(find_report("audit"), wrong)
        assert caught.value.field == "format"


def test_an_unknown_report_is_named() -> None:
    with pytest.raises(ParameterError) as caught:
        find_report("gossip")
    assert caught.value.field == "report"
    assert "subscription-summary, " in caught.value.message
