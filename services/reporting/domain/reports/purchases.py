"""The report on purchases: the lots of each subscription, with their prices."""

from collections.abc import Callable, Iterator
from datetime import datetime
from decimal import Decimal
from typing import Final

from services.reporting.domain.money import main_units
from services.reporting.domain.purchases import PurchaseLot, lots_of
from services.reporting.domain.reports.columns import MONEY_SCALE, Column, Row
from services.reporting.domain.reports.definitions import Report, ReportId
from services.reporting.domain.reports.parameters import FLAVOUR, OF_SUBSCRIPTIONS
from shared.events.state import Lot, SubscriptionState

_NO_PRICE: Final = "empty without a price"

PURCHASES: Final = Report(
    id=ReportId("purchases"),
    title="Purchases",
    description="One row per purchase of units, with its price and arithmetic.",
    columns=(
        Column("subscription", "text", "Id of the subscription."),
        Column("account", "text", "Id of the account that the subscription belongs to."),
        Column("lot", "text", "Id of the purchase."),
        Column("units", "integer", "Units that were bought."),
        Column("start", "timestamp", "When the units begin to count."),
        Column("end", "timestamp", "When they cease to count, exclusive."),
        Column("order_reference", "text", "Reference of the order."),
        Column("purchased_at", "timestamp", "When the purchase was recorded."),
        Column("valid", "boolean", "Whether the units count at the report's instant."),
        Column("voided_at", "timestamp", "When a wrong purchase was voided; empty: it was not.", nullable=True),
        Column("void_reason", "text", "Why it was voided.", nullable=True),
        Column("currency", "text", f"Currency of the prices (ISO 4217); {_NO_PRICE}.", nullable=True),
        Column(
            "list_price", "decimal", f"List price per unit and year; {_NO_PRICE}.", nullable=True, scale=MONEY_SCALE
        ),
        Column("tier_from_units", "integer", f"Units from which the price tier holds; {_NO_PRICE}.", nullable=True),
        Column(
            "discount_percent", "decimal", f"Discount of the tier, in percent; {_NO_PRICE}.", nullable=True, scale=2
        ),
        Column("unit_price", "decimal", f"Price per unit and year; {_NO_PRICE}.", nullable=True, scale=MONEY_SCALE),
        Column(
            "years", "text", f"Paid years as an exact fraction, such as `1` or `73/365`; {_NO_PRICE}.", nullable=True
        ),
        Column("total", "decimal", f"Price of the purchase; {_NO_PRICE}.", nullable=True, scale=MONEY_SCALE),
        Column("arithmetic", "text", f"How the price is computed, in one line; {_NO_PRICE}.", nullable=True),
    ),
    parameters=(*OF_SUBSCRIPTIONS, FLAVOUR),
    audience="view",
    has_history=True,
    names_people=True,
)


def purchase_rows(state: SubscriptionState, as_of: datetime, show: Callable[[str], str]) -> Iterator[Row]:
    """Yield the rows of a subscription's purchases as of an instant, oldest first.

    ``show`` returns what to show of a sealed text.
    """
    for lot in reversed(lots_of(state_at(state, as_of), as_of)):
        yield _row(state, lot, show)


def state_at(state: SubscriptionState, as_of: datetime) -> SubscriptionState:
    """Return a subscription with the lots and terms that were known at an instant.

    A renewal is sold with its first lot, so a later term was known once a lot in it was bought; one without lots, of
    per-product licensing, is taken as known.
    """
    lots = tuple(_lot_at(lot, as_of) for lot in state.lots if lot.purchased_at <= as_of)
    first, *later = state.all_terms
    unknown = {lot.start for lot in state.lots if lot.purchased_at > as_of} - {lot.start for lot in lots}
    terms = (first, *(term for term in later if term.start not in unknown))
    return state.model_copy(update={"lots": lots, "terms": terms})


def _lot_at(lot: Lot, as_of: datetime) -> Lot:
    if lot.voided_at is None or lot.voided_at <= as_of:
        return lot
    return lot.model_copy(update={"voided_at": None, "void_reason": None})


def _row(state: SubscriptionState, lot: PurchaseLot, show: Callable[[str], str]) -> Row:
    return (
        state.id,
        state.account,
        lot.id,
        lot.units,
        lot.start,
        lot.end,
        lot.order_reference,
        lot.purchased_at,
        lot.valid,
        lot.voided_at,
        show(lot.void_reason) if lot.void_reason else None,
        *_price(lot),
    )


def _price(lot: PurchaseLot) -> Row:
    price = lot.price
    if price is None:
        return (None,) * 8
    return (
        price.currency,
        main_units(price.list_price_minor, price.currency),
        price.tier_from_units,
        Decimal(price.discount_basis_points).scaleb(-2),
        main_units(price.unit_price_minor, price.currency),
        price.years,
        main_units(price.total_minor, price.currency),
        price.arithmetic,
    )
