"""The reports on usage: by window, by day and by hour."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from services.reporting.domain.reports.columns import Column, Row
from services.reporting.domain.reports.definitions import Report, ReportId
from services.reporting.domain.reports.parameters import FLAVOUR, FROM, METER, OF_SUBSCRIPTIONS, PRODUCT, TO, ZONE
from services.reporting.domain.usage import UsageItem
from shared.events.state import Aggregation, ProductState

_WHAT: Final = (
    Column("subscription", "text", "Id of the subscription."),
    Column("product", "text", "Id of the product."),
    Column("meter", "text", "Id of the product's meter."),
)
_SPAN: Final = (
    *_WHAT,
    Column("aggregation", "text", "How the meter aggregates: `sum`, `count`, `peak`, `unique` or `latest`."),
)
_REVISION: Final = Column("revision", "integer", "Revision of the figure; it grows with each restatement; 0: no usage.")
_PARAMETERS: Final = (*OF_SUBSCRIPTIONS, PRODUCT, METER, FROM, TO)

USAGE_BY_WINDOW: Final = Report(
    id=ReportId("usage-by-window"),
    title="Usage by window",
    description="One row per measurement window, product and meter: what the window added, 0 without usage.",
    columns=(
        *_WHAT,
        Column("start", "timestamp", "Start of the window."),
        Column("end", "timestamp", "End of the window, exclusive."),
        Column("aggregate", "decimal", "What the window added, in the meter's own things."),
        Column("consumed", "integer", "What the window added, in units."),
        Column("provisional", "boolean", "Whether usage still changes the window without a restatement."),
        _REVISION,
        Column("term_aggregate", "decimal", "Term to date, of a meter that adds up over the term.", nullable=True),
        Column("term_consumed", "integer", "Term to date in units, of a meter that adds up over it.", nullable=True),
    ),
    parameters=(*_PARAMETERS, FLAVOUR),
    audience="view",
)


def _by(span: str, note: str) -> tuple[Column, ...]:
    return (
        *_SPAN,
        Column("start", "timestamp", f"Start of the {span}."),
        Column("end", "timestamp", f"End of the {span}, exclusive."),
        Column("aggregate", "decimal", f"The {span}'s own figure, in the meter's own things{note}."),
        Column("consumed", "integer", f"The {span}'s own figure, in units, rounded up once."),
        Column("provisional", "boolean", f"Whether usage still changes the {span} without a restatement."),
        _REVISION,
        Column("as_of", "timestamp", "Until when usage is counted; empty without usage.", nullable=True),
    )


USAGE_BY_DAY: Final = Report(
    id=ReportId("usage-by-day"),
    title="Usage by day",
    description="One row per day, product and meter; days of levels and of distinct resources do not add up.",
    columns=_by("day", "; days of `peak`, `latest` and `unique` meters do not add up"),
    parameters=(*_PARAMETERS, ZONE, FLAVOUR),
    audience="view",
)
USAGE_BY_HOUR: Final = Report(
    id=ReportId("usage-by-hour"),
    title="Usage by hour",
    description="One row per hour, product and meter; hours of levels and of distinct resources do not add up.",
    columns=_by("hour", "; hours of `peak`, `latest` and `unique` meters do not add up"),
    parameters=(*_PARAMETERS, FLAVOUR),
    audience="view",
)


def span_rows(subscription: str, items: Iterable[UsageItem], catalogue: Mapping[str, ProductState]) -> Iterator[Row]:
    """Yield the rows of a subscription's days or hours."""
    aggregations: dict[tuple[str, str], Aggregation] = {
        (product, meter.meter): meter.aggregation for product, known in catalogue.items() for meter in known.meters
    }
    for item in items:
        yield (
            subscription,
            item.product,
            item.meter,
            aggregations[item.product, item.meter],
            item.start,
            item.end,
            item.aggregate,
            item.consumed,
            item.provisional,
            item.revision,
            item.as_of,
        )


def window_rows(subscription: str, items: list[UsageItem], meter: str | None = None) -> Iterator[Row]:
    """Yield the rows of a subscription's windows; ``meter``: only those of one meter."""
    for item in items:
        if meter is None or item.meter == meter:
            total = item.term_to_date
            yield (
                subscription,
                item.product,
                item.meter,
                item.start,
                item.end,
                item.aggregate,
                item.consumed,
                item.provisional,
                item.revision,
                total.aggregate if total else None,
                total.consumed if total else None,
            )
