"""Requests of exports."""

from datetime import datetime

from pydantic import Field

from services.reporting.api.fields import At, Request, example, invalid
from services.reporting.domain.reports.catalogue import (
    ParameterError,
    check_as_of,
    check_format,
    check_parameters,
    find_report,
)
from services.reporting.exports.jobs import Wanted

_TOP = frozenset({"report", "format", "as_of"})


class NewRequest(Request):
    """A report to export. `GET /v1/reports` lists reports, formats and parameters."""

    model_config = example(
        report="usage-by-day", format="csv", params={"subscription": "sub-1", "from": "2026-11-01", "to": "2026-11-30"}
    )
    report: str = Field(max_length=64)
    format: str = Field(max_length=16)
    params: dict[str, str] = Field(default_factory=dict, max_length=20)
    as_of: At | None = None

    def wanted(self, now: datetime) -> Wanted:
        """Check the request.

        Raises:
            ProblemError: ``invalid_request``, which names the field.
        """
        try:
            report = find_report(self.report)
            return Wanted(
                report=report,
                format=check_format(report, self.format),
                parameters=check_parameters(report, self.params, now),
                given_as_of=self.as_of,
                as_of=check_as_of(report, self.as_of, now),
            )
        except ParameterError as error:
            field = error.field if error.field in _TOP else f"params.{error.field}"
            raise invalid(field, error.message) from error
