"""Reports from the overviews of subscriptions: summary, products, overage, FOCUS."""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from services.reporting.domain.current_term import WindowFigures, current_window, snapshots_from
from services.reporting.domain.overview import Overview
from services.reporting.domain.reports.columns import Row
from services.reporting.domain.reports.focus import focus_rows
from services.reporting.domain.reports.overage import overage_rows
from services.reporting.domain.reports.product_utilisation import consumed_in, last_windows, product_row
from services.reporting.domain.reports.subscription_summary import summary_row
from services.reporting.domain.subscription_overview import overview_of
from services.reporting.queries.report_rows import ReportRequest
from services.reporting.queries.report_sources.scope import Wanted
from services.reporting.queries.report_sources.subscription_states import Compute, SubscriptionSource
from services.reporting.store import products
from services.reporting.store.subscription_batches import Figures, Span, load_figures, load_last_changes
from shared.events.state import ProductState, SubscriptionState
from shared.pricing import blended_price
from shared.runtime.postgres.pool import Connection

From = Callable[[SubscriptionState, datetime], datetime]
"""Returns the start of the oldest window that rows need at an instant."""


@dataclass(frozen=True, slots=True)
class _Loaded:
    catalogue: Mapping[str, ProductState]
    figures: Figures
    now: datetime

    def overview(self, state: SubscriptionState) -> Overview:
        return overview_of(state, self.catalogue, self.figures.get(state.id, {}), self.now)

    def of_product(self, state: SubscriptionState, product: str) -> list[WindowFigures]:
        return self.figures.get(state.id, {}).get(product, [])

    def counted_until(self, state: SubscriptionState, product: str) -> datetime | None:
        """Return until when a product's usage is counted in the term."""
        begun = state.term_at(self.now).start
        return max([one.as_of for one in self.of_product(state, product) if one.window_start >= begun], default=None)


async def _load(
    connection: Connection, request: ReportRequest, states: Collection[SubscriptionState], start: From
) -> _Loaded:
    now = request.as_of
    spans = [Span(one.id, start(one, now), current_window(one, now).start) for one in states]
    used = {str(product.product) for one in states for product in one.products}
    return _Loaded(await products.find_products(connection, used), await load_figures(connection, spans), now)


def _of_overview(state: SubscriptionState, now: datetime) -> datetime:
    return snapshots_from(state, current_window(state, now))


def _of_last_windows(state: SubscriptionState, now: datetime) -> datetime:
    oldest = last_windows(state, now)[-1]
    return min(_of_overview(state, now), oldest.term_start, oldest.start)


async def _summaries(connection: Connection, request: ReportRequest, states: Collection[SubscriptionState]) -> Compute:
    loaded = await _load(connection, request, states, _of_overview)

    def compute(state: SubscriptionState) -> Iterator[Row]:
        yield summary_row(loaded.overview(state), blended_price(state.lots_at(loaded.now)))

    return compute


async def _products(connection: Connection, request: ReportRequest, states: Collection[SubscriptionState]) -> Compute:
    loaded, wanted = await _load(connection, request, states, _of_last_windows), Wanted.of(request).product

    def compute(state: SubscriptionState) -> Iterator[Row]:
        overview, windows = loaded.overview(state), last_windows(state, loaded.now)
        for used, one in zip(state.active_products, overview.products, strict=True):
            if wanted is None or one.product == wanted:
                figures = loaded.of_product(state, one.product)
                last = consumed_in(state, used, figures, windows)
                yield product_row(overview, one, last, loaded.counted_until(state, one.product))

    return compute


async def _overage(connection: Connection, request: ReportRequest, states: Collection[SubscriptionState]) -> Compute:
    loaded, wanted = await _load(connection, request, states, _of_overview), Wanted.of(request).product

    def compute(state: SubscriptionState) -> Iterator[Row]:
        price = blended_price(state.lots_at(loaded.now))
        until = {str(one.product): loaded.counted_until(state, one.product) for one in state.active_products}
        return overage_rows(loaded.overview(state), state, price, until, wanted)

    return compute


async def _commitments(
    connection: Connection, request: ReportRequest, states: Collection[SubscriptionState]
) -> Compute:
    loaded = await _load(connection, request, states, _of_overview)
    changed = await load_last_changes(connection, [one.id for one in states])

    def compute(state: SubscriptionState) -> Iterator[Row]:
        return focus_rows(state, loaded.overview(state), changed.get(state.id), loaded.now)

    return compute


def summary_source(request: ReportRequest) -> SubscriptionSource:
    """Open the source of ``subscription-summary``."""
    return SubscriptionSource(request, _summaries, lambda counts: counts.subscriptions)


def product_source(request: ReportRequest) -> SubscriptionSource:
    """Open the source of ``product-utilisation``."""
    return SubscriptionSource(request, _products, lambda counts: counts.products, rows_each=8)


def overage_source(request: ReportRequest) -> SubscriptionSource:
    """Open the source of ``overage``."""
    return SubscriptionSource(request, _overage, lambda counts: counts.products)


def commitment_source(request: ReportRequest) -> SubscriptionSource:
    """Open the source of ``focus-commitments``."""
    return SubscriptionSource(request, _commitments, lambda counts: counts.lots, rows_each=2)
