"""Consumption by window over the last twelve months.

It is a table, which the chart draws.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from services.reporting.domain.overview import Overview
from services.reporting.domain.usage import UsageItem
from services.reporting.pages import wording
from services.reporting.pages.products import mark

SHOWN = timedelta(days=366)


@dataclass(frozen=True, slots=True)
class UsageColumn:
    """The column of one product."""

    name: str
    mark: str


@dataclass(frozen=True, slots=True)
class UsageRow:
    """The row of one window.

    ``cells`` are in the order of the columns; ``plain`` are their numbers.
    """

    label: str
    short: str
    cells: tuple[str, ...]
    plain: tuple[int, ...]
    total: str
    provisional: bool


@dataclass(frozen=True, slots=True)
class UsageView:
    """The table, oldest window first."""

    columns: tuple[UsageColumn, ...]
    rows: tuple[UsageRow, ...]
    purchased: int
    allocated: int
    unit_label: str


def present_usage(overview: Overview, items: Iterable[UsageItem]) -> UsageView:
    """Present ``items``: what each window added to each meter."""
    names = {product.product: product.name for product in overview.products}
    by_window: dict[tuple[datetime, datetime], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    provisional: set[tuple[datetime, datetime]] = set()
    for item in items:
        window = item.start, item.end
        by_window[window][item.product] += item.consumed
        if item.provisional:
            provisional.add(window)
    used = {product for cells in by_window.values() for product, consumed in cells.items() if consumed}
    shown = sorted(used, key=lambda product: names.get(product, product))
    return UsageView(
        columns=tuple(UsageColumn(names.get(product, product), mark(product)) for product in shown),
        rows=tuple(
            _row(window, [by_window[window].get(product, 0) for product in shown], window in provisional)
            for window in sorted(by_window)
        ),
        purchased=overview.purchased,
        allocated=overview.allocated,
        unit_label=overview.unit_label,
    )


def _row(window: tuple[datetime, datetime], cells: list[int], provisional: bool) -> UsageRow:
    start, end = window
    return UsageRow(
        label=wording.span(start, end),
        short=f"{start.day} {start:%b}",
        cells=tuple(wording.count(cell) for cell in cells),
        plain=tuple(cells),
        total=wording.count(sum(cells)),
        provisional=provisional,
    )
