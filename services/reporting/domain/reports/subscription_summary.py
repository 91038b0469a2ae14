"""The report on subscriptions: pool, figures, term, rebalance and cost of each."""

from typing import Final

from services.reporting.domain.money import main_units
from services.reporting.domain.overview import Overview
from services.reporting.domain.reports.columns import MONEY_SCALE, Column, Row
from services.reporting.domain.reports.definitions import TABLE_FORMATS, Report, ReportId
from services.reporting.domain.reports.parameters import FLAVOUR, OF_SUBSCRIPTIONS
from shared.pricing import BlendedPrice

SUBSCRIPTION_SUMMARY: Final = Report(
    id=ReportId("subscription-summary"),
    title="Subscriptions",
    description="One row per subscription: its pool, figures, term, rebalance, state and cost.",
    columns=(
        Column("subscription", "text", "Id of the subscription."),
        Column("account", "text", "Id of the account that the subscription belongs to."),
        Column("name", "text", "Name of the subscription."),
        Column("model", "text", "Licensing model: `flex` (a pool of units) or `per_product`."),
        Column("state", "text", "State of the subscription, such as `active` or `grace`."),
        Column("unit_label", "text", "What the subscription calls its units."),
        Column("term_start", "timestamp", "Start of the term in force."),
        Column("term_end", "timestamp", "End of the term in force, exclusive."),
        Column("term_days_left", "integer", "Days until the term ends; a day that has begun counts."),
        Column("window_start", "timestamp", "Start of the current measurement window."),
        Column("window_end", "timestamp", "End of the current measurement window, exclusive."),
        Column("purchased", "integer", "Units of the purchases that count now."),
        Column("allocated", "integer", "Units that are allocated to products."),
        Column("consumed", "integer", "Units that the products consume."),
        Column("unallocated", "integer", "Units that were purchased and are not allocated; 0 if over-allocated."),
        Column("unused", "integer", "Units that are allocated and not consumed; negative where consumption exceeds."),
        Column("over_allocated", "integer", "Units that are allocated beyond what is purchased."),
        Column("drawn", "integer", "Unallocated units that products with the policy `reserve` draw on."),
        Column("as_of", "timestamp", "Until when usage is counted; empty before the first measurement.", nullable=True),
        Column("rebalance_allowed", "boolean", "Whether allocations may be lowered now."),
        Column("rebalance_next_allowed_at", "timestamp", "When they may be lowered; empty: now.", nullable=True),
        Column("rebalance_last_at", "timestamp", "When they were last lowered; empty: never.", nullable=True),
        Column("rebalance_every_days", "integer", "Days between two rebalances."),
        Column("currency", "text", "Currency of the cost (ISO 4217); empty if a purchase has no price.", nullable=True),
        Column("cost", "decimal", "Price of the purchases that count now.", nullable=True, scale=MONEY_SCALE),
    ),
    parameters=(*OF_SUBSCRIPTIONS, FLAVOUR),
    audience="view",
    formats=(*TABLE_FORMATS, "pdf"),
)


def summary_row(overview: Overview, price: BlendedPrice | None) -> Row:
    """Return the row of a subscription.

    ``price``: that of the purchases that count.
    """
    clock = overview.rebalance
    return (
        overview.id,
        overview.account,
        overview.name,
        overview.model,
        overview.state,
        overview.unit_label,
        overview.term.start,
        overview.term.end,
        overview.term.days_left,
        overview.window.start,
        overview.window.end,
        overview.purchased,
        overview.allocated,
        overview.consumed,
        overview.unallocated,
        overview.unused,
        overview.over_allocated,
        overview.drawn,
        overview.as_of,
        clock.allowed,
        clock.next_allowed_at,
        clock.last_at,
        clock.every_days,
        price.currency if price else None,
        main_units(price.cost(overview.purchased), price.currency) if price else None,
    )
