"""Reports that can be exported."""

from services.reporting.api.fields import AnswerBody
from services.reporting.domain.reports.columns import Column, ColumnType
from services.reporting.domain.reports.definitions import Audience, Format, Report


class ReportColumn(AnswerBody):
    """A column. ``scale``: digits after the point, of a ``decimal``; else null."""

    name: str
    type: ColumnType
    description: str
    nullable: bool
    scale: int | None


class ReportParameter(AnswerBody):
    name: str
    description: str
    required: bool


class ReportDescription(AnswerBody):
    """A report.

    ``audience``: who may make it, ``vendor`` or a permission in a subscription. ``has_history``: whether it can be
    made as of a past instant.
    """

    id: str
    title: str
    description: str
    formats: list[Format]
    parameters: list[ReportParameter]
    columns: list[ReportColumn]
    audience: Audience
    has_history: bool


class Reports(AnswerBody):
    items: list[ReportDescription]


def report_description(report: Report) -> ReportDescription:
    """Describe a report."""
    return ReportDescription(
        id=report.id,
        title=report.title,
        description=report.description,
        formats=list(report.formats),
        parameters=[
            ReportParameter(name=one.name, description=one.description, required=one.required)
            for one in report.parameters
        ],
        columns=[_column(one) for one in report.columns],
        audience=report.audience,
        has_history=report.has_history,
    )


def _column(column: Column) -> ReportColumn:
    return ReportColumn(
        name=column.name,
        type=column.type,
        description=column.description,
        nullable=column.nullable,
        scale=column.scale if column.type == "decimal" else None,
    )
