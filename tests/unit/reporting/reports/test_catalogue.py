"""The definitions of reports, and the page of the documentation made from them."""

import re
from pathlib import Path

import pytest

from services.reporting.domain.reports.catalogue import REPORTS
from services.reporting.domain.reports.definitions import ReportId
from services.reporting.domain.reports.reference import page

PEOPLE = re.compile(r"e-mail|person|reason|text|what the alert says", re.IGNORECASE)
"""What descriptions say of columns with people's names, addresses or texts."""


@pytest.mark.parametrize("report", REPORTS)
def test_a_report_is_described_in_whole_sentences(report: ReportId) -> None:
    one = REPORTS[report]
    assert one.id == report
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", report)
    described = [one.description, *(column.description for column in one.columns)]
    described += [parameter.description for parameter in one.parameters]
    for text in described:
        assert text[0].isupper() or text[0] == "`", text
        assert text.endswith("."), text
        assert ". " not in text, "one sentence"
        assert "|" not in text, "the page is a table"
    names = [column.name for column in one.columns]
    assert len(set(names)) == len(names)
    assert len(set(one.parameter_names)) == len(one.parameters)
    assert "flavour" in one.parameter_names


@pytest.mark.parametrize("report", REPORTS)
def test_a_report_with_addresses_says_that_it_names_people(report: ReportId) -> None:
    addresses = [one.name for one in REPORTS[report].columns if "E-mail address" in one.description]
    assert not addresses or REPORTS[report].names_people


def test_the_page_equals_the_definitions() -> None:
    written = (Path(__file__).parents[4] / "docs" / "reports.md").read_text(encoding="utf-8")
    assert written == page(), "run: python -m services.reporting.domain.reports.reference > docs/reports.md"
    for report in REPORTS.values():
        for column in report.columns:
            assert f"| `{column.name}` | {column.type}" in written
