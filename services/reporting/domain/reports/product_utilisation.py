"""The report on products: allocation, consumption, class, windows and cost."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Final

from services.reporting.domain.current_term import PlacedWindow, WindowFigures, current_window
from services.reporting.domain.money import main_units
from services.reporting.domain.overview import Overview, ProductOverview
from services.reporting.domain.reports.columns import MONEY_SCALE, Column, Row
from services.reporting.domain.reports.definitions import TABLE_FORMATS, Report, ReportId
from services.reporting.domain.reports.parameters import FLAVOUR, OF_SUBSCRIPTIONS, PRODUCT
from shared.events.state import SubscribedProduct, SubscriptionState
from shared.windows import Window

LAST_WINDOWS: Final = 6

PRODUCT_UTILISATION: Final = Report(
    id=ReportId("product-utilisation"),
    title="Utilisation of products",
    description="One row per product of a subscription: allocation, consumption, class, last six windows and cost.",
    columns=(
        Column("subscription", "text", "Id of the subscription."),
        Column("account", "text", "Id of the account that the subscription belongs to."),
        Column("product", "text", "Id of the product."),
        Column("product_name", "text", "Name of the product."),
        Column("allocated", "integer", "Units that are allocated to the product."),
        Column("consumed", "integer", "Units that the product consumes."),
        Column("unused", "integer", "Units that are allocated and not consumed; negative where consumption exceeds."),
        Column("utilisation", "decimal", "Percent of the allocation that is consumed.", nullable=True, scale=1),
        Column("class", "text", "`over`, `near`, `healthy`, `under` or `idle`; empty: none yet.", nullable=True),
        Column("policy", "text", "Overage policy: `soft`, `reserve` or `hard`."),
        Column("restricted", "boolean", "Whether the product is restricted after 45 days above 110 %."),
        Column("floor", "integer", "Units below which the product cannot be allocated."),
        Column("drawn", "integer", "Unallocated units that the product draws on (policy `reserve`)."),
        *(
            Column(
                f"window_{ago}",
                "integer",
                f"Units that the product consumed in the {place} closed window; empty if it was not used then.",
                nullable=True,
            )
            for ago, place in enumerate(
                ("last", "second last", "third last", "fourth last", "fifth last", "sixth last"), 1
            )
        ),
        Column("as_of", "timestamp", "Until when usage is counted; empty before the first measurement.", nullable=True),
        Column("currency", "text", "Currency of the costs (ISO 4217); empty without prices.", nullable=True),
        Column("cost_allocated", "decimal", "Share of the price that is allocated.", nullable=True, scale=MONEY_SCALE),
        Column("cost_consumed", "decimal", "Share of the price that is consumed.", nullable=True, scale=MONEY_SCALE),
    ),
    parameters=(*OF_SUBSCRIPTIONS, PRODUCT, FLAVOUR),
    audience="view",
    formats=(*TABLE_FORMATS, "pdf"),
)


def product_row(
    overview: Overview, product: ProductOverview, last: Sequence[int | None], as_of: datetime | None
) -> Row:
    """Return the row of a product.

    ``last``: what its last six windows added, newest first; ``as_of``: of its newest measurement.
    """
    cost = product.cost
    return (
        overview.id,
        overview.account,
        product.product,
        product.name,
        product.allocated,
        product.consumed,
        product.unused,
        None if product.utilisation is None else Decimal(str(product.utilisation)),
        product.utilisation_class,
        product.policy,
        product.restricted,
        product.floor,
        product.drawn,
        *last,
        as_of,
        cost.currency if cost else None,
        main_units(cost.allocated_minor, cost.currency) if cost else None,
        main_units(cost.consumed_minor, cost.currency) if cost else None,
    )


def last_windows(state: SubscriptionState, now: datetime) -> list[PlacedWindow]:
    """Return the last six closed windows, newest first.

    Those before the first term are among them.
    """
    return [PlacedWindow.of(state, one) for one in _before(state, current_window(state, now))]


def _before(state: SubscriptionState, window: Window) -> Iterator[Window]:
    for _ in range(LAST_WINDOWS):
        window = state.calendar.before(window)
        yield window


def consumed_in(
    state: SubscriptionState,
    product: SubscribedProduct,
    figures: Sequence[WindowFigures],
    windows: Sequence[PlacedWindow],
) -> list[int | None]:
    """Return what a product consumed in each window.

    ``None``: it was not used in the window. ``figures``: its measurements, in order of time, also those of earlier
    windows of the same terms, from which running totals continue.
    """
    measured = {one.window_start: one for one in figures}
    spans = _spans(state, product)
    consumed: list[int | None] = []
    for window in windows:
        one = measured.get(window.start)
        if one is not None:
            consumed.append(one.level + max(0, one.burned_down - window.burned_before(figures)))
        else:
            is_used = any(start < window.end and end > window.start for start, end in spans)
            consumed.append(0 if is_used else None)
    return consumed


def _spans(state: SubscriptionState, product: SubscribedProduct) -> list[tuple[datetime, datetime]]:
    """Return when the product was used, within the terms."""
    begun, over = state.all_terms[0].start, min(state.all_terms[-1].end, state.cancelled_at or state.all_terms[-1].end)
    spans = [*((one.start, one.end) for one in product.earlier), (product.subscribed_at, product.ended_at or over)]
    return [(max(start, begun), min(end, over)) for start, end in spans]
