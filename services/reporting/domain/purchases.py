"""The purchases of a subscription: its lots, with their prices."""

from dataclasses import dataclass
from datetime import datetime

from services.reporting.domain.money import arithmetic
from shared.events.state import Lot, Price, SubscriptionState


class PaidPrice(Price):
    """A price with its arithmetic in one line."""

    arithmetic: str


@dataclass(frozen=True, slots=True)
class PurchaseLot:
    """A lot. ``valid``: it counts now. ``price`` ``None``: there was no price list."""

    id: str
    units: int
    start: datetime
    end: datetime
    order_reference: str
    purchased_at: datetime
    voided_at: datetime | None
    void_reason: str | None
    valid: bool
    price: PaidPrice | None


def lots_of(state: SubscriptionState, now: datetime) -> list[PurchaseLot]:
    """List the lots, newest first."""
    valid = {one.id for one in state.lots_at(now)}
    ordered = sorted(state.lots, key=lambda one: (one.purchased_at, one.id), reverse=True)
    return [_lot(one, valid=one.id in valid) for one in ordered]


def _lot(one: Lot, *, valid: bool) -> PurchaseLot:
    return PurchaseLot(
        id=one.id,
        units=one.units,
        start=one.start,
        end=one.end,
        order_reference=one.order_reference,
        purchased_at=one.purchased_at,
        voided_at=one.voided_at,
        void_reason=one.void_reason,
        valid=valid,
        price=None if one.price is None else PaidPrice(**dict(one.price), arithmetic=arithmetic(one.units, one.price)),
    )
