"""Purchase lots: units bought in one order.

Each lot is valid for its own span within a term.
"""

from datetime import datetime
from typing import Final

from services.allocation.domain.subscriptions import Subscription
from shared.events.commands.subscriptions import PurchaseLot, VoidLot
from shared.events.envelope import rfc3339
from shared.events.ids import LotId
from shared.events.refusals import Refusal
from shared.events.state import Lot, PriceList, SubscriptionState, Term
from shared.pricing import MAX_MINOR, committed_units, quote
from shared.units import MAX_UNITS

MAX_LOTS: Final = 1000
"""Largest number of lots of a subscription.

Events carry a subscription whole, and Kafka limits the size of a record.
"""


def purchase(
    subscription: Subscription, command: PurchaseLot, now: datetime, price_list: PriceList | None = None
) -> tuple[Subscription, Lot] | Refusal:
    """Add a lot to the pool: unallocated, and without effect on the rebalance clock.

    Its start decides its term: the present one, or a renewal that was sold already. ``price_list`` is the current one,
    if there is any.
    """
    if refusal := subscription.refusal_for("purchase-lot", now):
        return refusal
    state = subscription.state
    if any(lot.id == command.lot for lot in state.lots):
        return Refusal.already_exists("lot", command.lot)
    term = max(state.term_at(now), state.term_at(command.start or now), key=lambda one: one.start)
    lot = Lot(
        id=LotId(command.lot),
        units=command.units,
        start=command.start or max(now, term.start),
        end=command.end or term.end,
        order_reference=command.order_reference,
        purchased_at=now,
    )
    sold = sell(state, lot, term, price_list)
    if isinstance(sold, Refusal):
        return sold
    return subscription.changed(now, lots=(*state.lots, sold)), sold


def void(subscription: Subscription, command: VoidLot, now: datetime) -> tuple[Subscription, Lot] | Refusal:
    """Void a wrong purchase: its units no longer count.

    The lot stays on record, with the reason.
    """
    if refusal := subscription.refusal_for("void-lot", now):
        return refusal
    lots = subscription.state.lots
    lot = next((one for one in lots if one.id == command.lot), None)
    if lot is None:
        return Refusal.not_found("lot")
    if lot.voided_at is not None:
        return Refusal.invalid(("lot", f"was voided already, at {rfc3339(lot.voided_at)}"))
    voided = lot.model_copy(update={"voided_at": now, "void_reason": command.reason})
    return subscription.changed(now, lots=tuple(voided if one is lot else one for one in lots)), voided


def sell(state: SubscriptionState, lot: Lot, term: Term, price_list: PriceList | None) -> Lot | Refusal:
    """Create a lot of ``term``, with its price if there is a price list.

    The price is by the tier that all units of the term reach together.
    """
    if errors := _errors(state, lot, term):
        return Refusal.invalid(*errors)
    if price_list is None:
        return lot
    committed = committed_units(state.lots, term)
    price = quote(price_list, lot.units, lot.start, lot.end, committed=committed).price
    if price.total_minor > MAX_MINOR:
        return Refusal.invalid(("units", f"cost more than {MAX_MINOR:,} in the smallest unit of the currency"))
    return lot.model_copy(update={"price": price})


def _errors(state: SubscriptionState, lot: Lot, term: Term) -> list[tuple[str, str]]:
    """Return what is wrong with the new lot, as ``(field, message)``."""
    errors = []
    if lot.start < term.start:
        errors.append(("start", "must not be before the subscription's term"))
    if lot.end > term.end:
        errors.append(("end", "must not be after the subscription's term"))
    if lot.start >= lot.end:
        errors.append(("end", "must be later than the start"))
    if sum(one.units for one in state.lots) + lot.units > MAX_UNITS:
        errors.append(("units", f"all lots together hold at most {MAX_UNITS:,} units"))
    if len(state.lots) >= MAX_LOTS:
        errors.append(("lot", f"a subscription has at most {MAX_LOTS} lots"))
    return errors
