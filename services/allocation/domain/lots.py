"""Purchase lots: units bought in one order, valid for their own span within the term."""

from datetime import datetime
from typing import Final

from services.allocation.domain import refusals
from services.allocation.domain.subscriptions import Subscription
from shared.events.commands import PurchaseLot
from shared.events.ids import LotId
from shared.events.refusals import Refusal
from shared.events.state import Lot
from shared.units import MAX_UNITS

MAX_LOTS: Final = 1000
"""A subscription travels whole in an event: this keeps it far below what Kafka takes."""


def purchase(subscription: Subscription, command: PurchaseLot, now: datetime) -> tuple[Subscription, Lot] | Refusal:
    """The subscription with a lot more: unallocated, and without effect on the rebalance clock."""
    if refusal := subscription.refusal_for("purchase-lot", now):
        return refusal
    state = subscription.state
    if any(lot.id == command.lot for lot in state.lots):
        return refusals.already_exists("lot", command.lot)
    lot = Lot(
        id=LotId(command.lot),
        units=command.units,
        start=command.start or max(now, state.term.start),
        end=command.end or state.term.end,
        order_reference=command.order_reference,
        purchased_at=now,
    )
    if errors := _errors(subscription, lot):
        return refusals.invalid(*errors)
    return subscription.changed(now, lots=(*state.lots, lot)), lot


def _errors(subscription: Subscription, lot: Lot) -> list[tuple[str, str]]:
    term, lots = subscription.state.term, subscription.state.lots
    errors = []
    if lot.start < term.start:
        errors.append(("start", "must not be before the subscription's term"))
    if lot.end > term.end:
        errors.append(("end", "must not be after the subscription's term"))
    if lot.start >= lot.end:
        errors.append(("end", "must be later than the start"))
    if sum(one.units for one in lots) + lot.units > MAX_UNITS:
        errors.append(("units", f"all lots together hold at most {MAX_UNITS:,} units"))
    if len(lots) >= MAX_LOTS:
        errors.append(("lot", f"a subscription has at most {MAX_LOTS} lots"))
    return errors
