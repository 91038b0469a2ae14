"""The report on overage: products that consume more than their allocation."""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from services.reporting.domain.money import main_units
from services.reporting.domain.overview import Overview
from services.reporting.domain.reports.columns import MONEY_SCALE, Column, Row
from services.reporting.domain.reports.definitions import Report, ReportId
from services.reporting.domain.reports.parameters import FLAVOUR, OF_SUBSCRIPTIONS, PRODUCT
from shared.events.state import SubscriptionState
from shared.pricing import BlendedPrice

RESTRICTED_AFTER: Final = timedelta(days=45)
"""Time above 110 % of its allocation after which a product is restricted."""

OVERAGE: Final = Report(
    id=ReportId("overage"),
    title="Overage",
    description="One row per product that consumes more than its allocation now.",
    columns=(
        Column("subscription", "text", "Id of the subscription."),
        Column("account", "text", "Id of the account that the subscription belongs to."),
        Column("product", "text", "Id of the product."),
        Column("product_name", "text", "Name of the product."),
        Column("policy", "text", "Overage policy: `soft`, `reserve` or `hard`."),
        Column("allocated", "integer", "Units that are allocated to the product."),
        Column("consumed", "integer", "Units that the product consumes."),
        Column("beyond", "integer", "Units that are consumed beyond the allocation."),
        Column("drawn", "integer", "Units of these that are drawn from unallocated ones (policy `reserve`)."),
        Column("overage", "integer", "Units of these that nothing covers."),
        Column("utilisation", "decimal", "Percent of the allocation that is consumed.", nullable=True, scale=1),
        Column("over_since", "timestamp", "Since when it is above 110 %; empty: it is not.", nullable=True),
        Column("restricted_from", "timestamp", "When it is restricted, unless it falls below 110 %.", nullable=True),
        Column("restricted", "boolean", "Whether the product is restricted now."),
        Column("as_of", "timestamp", "Until when usage is counted; empty before the first measurement.", nullable=True),
        Column("currency", "text", "Currency of the cost (ISO 4217); empty without prices.", nullable=True),
        Column("cost", "decimal", "The overage at the pool's average price.", nullable=True, scale=MONEY_SCALE),
    ),
    parameters=(*OF_SUBSCRIPTIONS, PRODUCT, FLAVOUR),
    audience="view",
)


def overage_rows(
    overview: Overview,
    state: SubscriptionState,
    price: BlendedPrice | None,
    as_of: Mapping[str, datetime | None],
    product: str | None = None,
) -> Iterator[Row]:
    """Yield the rows of a subscription's products that consume too much.

    ``price``: the blended one of the purchases that count; ``as_of``: until when usage is counted, by product.
    ``product``: only this one.
    """
    since = {str(one.product): one.over_since for one in state.active_products}
    for one in overview.products:
        beyond = one.consumed - one.allocated
        if beyond > 0 and product in {None, one.product}:
            over_since, overage = since.get(one.product), beyond - one.drawn
            yield (
                overview.id,
                overview.account,
                one.product,
                one.name,
                one.policy,
                one.allocated,
                one.consumed,
                beyond,
                one.drawn,
                overage,
                None if one.utilisation is None else Decimal(str(one.utilisation)),
                over_since,
                over_since + RESTRICTED_AFTER if over_since else None,
                one.restricted,
                as_of.get(one.product),
                price.currency if price else None,
                main_units(price.cost(overage), price.currency) if price else None,
            )
