"""All reports, by id."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from services.reporting.domain.reports.alerts import ALERTS, DELIVERIES
from services.reporting.domain.reports.allocation_history import ALLOCATION_HISTORY
from services.reporting.domain.reports.audit import AUDIT
from services.reporting.domain.reports.definitions import Report, ReportId
from services.reporting.domain.reports.focus_columns import FOCUS_COMMITMENTS
from services.reporting.domain.reports.overage import OVERAGE
from services.reporting.domain.reports.parameter_checks import (
    ParameterError,
    check_as_of,
    check_format,
    check_parameters,
)
from services.reporting.domain.reports.product_utilisation import PRODUCT_UTILISATION
from services.reporting.domain.reports.purchases import PURCHASES
from services.reporting.domain.reports.roles import ROLES
from services.reporting.domain.reports.subscription_summary import SUBSCRIPTION_SUMMARY
from services.reporting.domain.reports.usage import USAGE_BY_DAY, USAGE_BY_HOUR, USAGE_BY_WINDOW
from services.reporting.domain.reports.usage_books import QUARANTINE, RECONCILIATION

__all__ = ["REPORTS", "ParameterError", "check_as_of", "check_format", "check_parameters", "find_report"]

REPORTS: Final[Mapping[ReportId, Report]] = MappingProxyType(
    {
        one.id: one
        for one in (
            SUBSCRIPTION_SUMMARY,
            PRODUCT_UTILISATION,
            USAGE_BY_WINDOW,
            USAGE_BY_DAY,
            USAGE_BY_HOUR,
            ALLOCATION_HISTORY,
            PURCHASES,
            OVERAGE,
            ALERTS,
            DELIVERIES,
            AUDIT,
            ROLES,
            RECONCILIATION,
            QUARANTINE,
            FOCUS_COMMITMENTS,
        )
    }
)
"""In the order in which they are listed."""


def find_report(report: str) -> Report:
    """Return the report with this id.

    Raises:
        ParameterError: there is none.
    """
    found = REPORTS.get(ReportId(report))
    if found is None:
        raise ParameterError("report", f"must be one of {', '.join(REPORTS)}")
    return found
