"""How the reports that can be made as PDF are laid out."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from services.reporting.domain.reports.definitions import ReportId
from services.reporting.domain.reports.product_utilisation import LAST_WINDOWS, PRODUCT_UTILISATION
from services.reporting.domain.reports.subscription_summary import SUBSCRIPTION_SUMMARY


@dataclass(frozen=True, slots=True)
class Shown:
    """A column of the table: its name in the report, heading, and share of width."""

    name: str
    title: str
    width: float = 1


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns of the table, and what the charts show.

    ``label``: the column that names a bar; ``bars``: the columns whose numbers are compared. ``windows``: columns with
    what was consumed in the last windows, oldest first; empty: no such chart.
    """

    columns: tuple[Shown, ...]
    label: str
    bars: tuple[str, ...]
    bars_title: str
    windows: tuple[str, ...] = ()


LAYOUTS: Final[Mapping[ReportId, Layout]] = {
    SUBSCRIPTION_SUMMARY.id: Layout(
        columns=(
            Shown("name", "Subscription", 2),
            Shown("account", "Account", 1.3),
            Shown("state", "State"),
            Shown("term_end", "Term ends", 1.2),
            Shown("purchased", "Purchased"),
            Shown("allocated", "Allocated"),
            Shown("consumed", "Consumed"),
            Shown("unallocated", "Unallocated", 1.1),
            Shown("unused", "Unused"),
            Shown("rebalance_next_allowed_at", "Rebalance from", 1.3),
            Shown("cost", "Cost", 1.1),
            Shown("currency", "", 0.5),
        ),
        label="name",
        bars=("purchased", "allocated", "consumed"),
        bars_title="Units purchased, allocated and consumed",
    ),
    PRODUCT_UTILISATION.id: Layout(
        columns=(
            Shown("subscription", "Subscription", 1.8),
            Shown("product_name", "Product", 1.6),
            Shown("allocated", "Allocated"),
            Shown("consumed", "Consumed"),
            Shown("utilisation", "%", 0.7),
            Shown("class", "Class", 0.8),
            Shown("policy", "Policy", 0.8),
            Shown("window_6", "6 ago", 0.8),
            Shown("window_5", "5 ago", 0.8),
            Shown("window_4", "4 ago", 0.8),
            Shown("window_3", "3 ago", 0.8),
            Shown("window_2", "2 ago", 0.8),
            Shown("window_1", "Last", 0.8),
            Shown("cost_consumed", "Cost", 1),
            Shown("currency", "", 0.6),
        ),
        label="product_name",
        bars=("allocated", "consumed"),
        bars_title="Units allocated and consumed",
        windows=tuple(f"window_{ago}" for ago in range(LAST_WINDOWS, 0, -1)),
    ),
}
