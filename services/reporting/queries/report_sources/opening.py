"""The sources of all reports."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from services.reporting.domain.reports.alerts import ALERTS, DELIVERIES
from services.reporting.domain.reports.allocation_history import ALLOCATION_HISTORY
from services.reporting.domain.reports.audit import AUDIT
from services.reporting.domain.reports.definitions import ReportId
from services.reporting.domain.reports.focus_columns import FOCUS_COMMITMENTS
from services.reporting.domain.reports.overage import OVERAGE
from services.reporting.domain.reports.product_utilisation import PRODUCT_UTILISATION
from services.reporting.domain.reports.purchases import PURCHASES
from services.reporting.domain.reports.roles import ROLES
from services.reporting.domain.reports.subscription_summary import SUBSCRIPTION_SUMMARY
from services.reporting.domain.reports.usage import USAGE_BY_DAY, USAGE_BY_HOUR, USAGE_BY_WINDOW
from services.reporting.domain.reports.usage_books import QUARANTINE, RECONCILIATION
from services.reporting.queries.report_rows import ReportRequest, RowSource
from services.reporting.queries.report_sources.alerts import AlertSource, DeliverySource
from services.reporting.queries.report_sources.allocation_history import AllocationHistorySource
from services.reporting.queries.report_sources.audit import AuditSource
from services.reporting.queries.report_sources.overviews import (
    commitment_source,
    overage_source,
    product_source,
    summary_source,
)
from services.reporting.queries.report_sources.purchases import purchase_source
from services.reporting.queries.report_sources.roles import RoleSource
from services.reporting.queries.report_sources.usage_books import QuarantineSource, ReconciliationSource
from services.reporting.queries.report_sources.usage_spans import usage_by_day_source, usage_by_hour_source
from services.reporting.queries.report_sources.usage_windows import UsageWindowSource

SOURCES: Final[Mapping[ReportId, Callable[[ReportRequest], RowSource]]] = MappingProxyType(
    {
        SUBSCRIPTION_SUMMARY.id: summary_source,
        PRODUCT_UTILISATION.id: product_source,
        USAGE_BY_WINDOW.id: UsageWindowSource,
        USAGE_BY_DAY.id: usage_by_day_source,
        USAGE_BY_HOUR.id: usage_by_hour_source,
        ALLOCATION_HISTORY.id: AllocationHistorySource,
        PURCHASES.id: purchase_source,
        OVERAGE.id: overage_source,
        ALERTS.id: AlertSource,
        DELIVERIES.id: DeliverySource,
        AUDIT.id: AuditSource,
        ROLES.id: RoleSource,
        RECONCILIATION.id: ReconciliationSource,
        QUARANTINE.id: QuarantineSource,
        FOCUS_COMMITMENTS.id: commitment_source,
    }
)
"""A report without a source is not offered."""


def open_source(request: ReportRequest) -> RowSource:
    """Open the rows of a request; ``scope.check_access`` checks first who makes it.

    Raises:
        KeyError: the report is not offered.
    """
    return SOURCES[request.report.id](request)
