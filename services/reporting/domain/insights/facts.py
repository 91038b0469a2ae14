"""The facts that insights are made of, beside the forecast."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from services.reporting.domain.current_term import WindowFigures, current_window, snapshots_from
from services.reporting.domain.insights.forecasts import InputWindow
from services.reporting.domain.insights.series import MeasuredWindow
from shared.events.state import ProductState, SubscriptionState


@dataclass(frozen=True, slots=True)
class Facts:
    """A subscription as it is now.

    ``rows``: measured windows in order of product and time, the open one and 12 months before it.
    """

    subscription: SubscriptionState
    catalogue: Mapping[str, ProductState]
    flex_enabled: bool
    rows: Sequence[MeasuredWindow]
    now: datetime

    def figures(self) -> dict[str, list[WindowFigures]]:
        """Return the windows that the overview reads, by product."""
        window = current_window(self.subscription, self.now)
        since = snapshots_from(self.subscription, window)
        figures: dict[str, list[WindowFigures]] = {}
        for row in self.rows:
            if since <= row.start <= window.start:
                figures.setdefault(row.product, []).append(
                    WindowFigures(row.start, row.revision, row.level, row.burned_down, row.as_of)
                )
        return figures

    def inputs(self) -> tuple[InputWindow, ...]:
        """Return the windows that a forecast is made of."""
        used = {one.product for one in self.subscription.active_products}
        return tuple(
            InputWindow(row.product, row.start, row.revision, row.level, row.burned_down)
            for row in self.rows
            if row.product in used
        )

    def happened(self) -> dict[tuple[str | None, datetime], int]:
        """Return the consumption at the end of each closed window of the present term.

        It is by product and end; ``None`` is the pool, of the products in use.
        """
        since = self.subscription.term_at(self.now).start
        used = {one.product for one in self.subscription.active_products}
        found: dict[tuple[str | None, datetime], int] = {}
        for row in self.rows:
            if row.product in used and since <= row.start and row.end <= self.now:
                found[row.product, row.end] = row.consumed
                found[None, row.end] = found.get((None, row.end), 0) + row.consumed
        return found
