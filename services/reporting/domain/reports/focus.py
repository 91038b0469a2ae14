"""The rows of the Contract Commitment dataset of FOCUS 1.4, one per lot.

The specification: https://focus.finops.org. The dataset has 28 of its 30 columns; the other two are for pricing in
another currency than billing, which does not occur. What is not known is null where the specification permits it.
Where it does not:

- payment: a lot is one order with one total, so it is `All Upfront`, paid `One-Time`;
- offer: a lot that was priced by the price list is `Public`; the terms of one without a price are those of its order.

Ends are exclusive. Units are not allocated from single lots, so the allocated and consumed quantities are those of the
whole pool, beside each lot that counts.
"""

import calendar
from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from services.reporting.domain.money import main_units
from services.reporting.domain.overview import Overview
from services.reporting.domain.reports.columns import Row
from shared.events.state import Lot, SubscriptionState

PROVIDER: Final = "Unitpool"
_APPLICABILITY: Final = '{"IsGlobalScope": true}'
_MONTHS: Final = 12
_ENDED: Final = frozenset({"grace", "read_only", "expired"})
"""States of a subscription whose term, and with it its lots, has ended."""


def focus_rows(
    state: SubscriptionState, overview: Overview, allocated_at: datetime | None, now: datetime
) -> Iterator[Row]:
    """Yield the rows of a subscription's lots, in order of purchase.

    ``allocated_at``: when its allocations last changed; ``None``: never.
    """
    counting = {lot.id for lot in state.lots_at(now)}
    for lot in sorted(state.lots, key=lambda one: (one.purchased_at, one.id)):
        counts = lot.id in counting
        figures = (overview.as_of, allocated_at) if counts else ()
        yield (
            state.id,
            state.all_terms[0].start,
            state.all_terms[-1].end,
            lot.id,
            lot.start,
            lot.end,
            lot.purchased_at,
            _last_updated(state, lot, figures, now),
            "Usage",
            "Flexible unit pool",
            f"{lot.units} units, order {lot.order_reference}",
            Decimal(lot.units),
            state.unit_label,
            main_units(lot.price.total_minor, lot.price.currency) if lot.price else None,
            lot.price.currency if lot.price else None,
            "Entitlement",
            "Discontinuous",
            "Full Period",
            duration_type(lot.start, lot.end),
            lifecycle_status(state, lot, now),
            "Public" if lot.price else "Negotiated",
            Decimal(lot.price.discount_basis_points).scaleb(-4) if lot.price else None,
            "All Upfront",
            "One-Time",
            Decimal(1),
            _APPLICABILITY,
            PROVIDER,
            PROVIDER,
            Decimal(overview.allocated) if counts else None,
            Decimal(overview.consumed) if counts else None,
        )


def lifecycle_status(state: SubscriptionState, lot: Lot, now: datetime) -> str:
    """Return the status of a lot.

    A lot is superseded if the next term began before the lot's end.
    """
    cancelled = state.cancelled_at
    if lot.voided_at is not None or (cancelled is not None and cancelled <= now and cancelled < lot.end):
        return "Canceled"
    if now < lot.start or state.state == "pending":
        return "Pending"
    if any(lot.start < term.start < lot.end and term.start <= now for term in state.all_terms):
        return "Superseded"
    if now >= lot.end or state.state in _ENDED:
        return "Expired"
    return "Exhausted" if state.state == "exhausted" else "Active"


def duration_type(start: datetime, end: datetime) -> str:
    """Return a span in whole years or months, else in days.

    A day that has begun counts.
    """
    months = (end.year - start.year) * _MONTHS + end.month - start.month
    if months > 0 and _after(start, months) == end:
        years, rest = divmod(months, _MONTHS)
        return _plural(months, "Month") if rest else _plural(years, "Year")
    return _plural(max(1, -((start - end) // timedelta(days=1))), "Day")


def _after(start: datetime, months: int) -> datetime:
    """Return the same day some months later, or the last day of a shorter month."""
    years, month = divmod(start.month - 1 + months, _MONTHS)
    year, month = start.year + years, month + 1
    return start.replace(year=year, month=month, day=min(start.day, calendar.monthrange(year, month)[1]))


def _plural(count: int, unit: str) -> str:
    return f"{count} {unit}" if count == 1 else f"{count} {unit}s"


def _last_updated(state: SubscriptionState, lot: Lot, figures: tuple[datetime | None, ...], now: datetime) -> datetime:
    changes = (lot.voided_at, state.cancelled_at, lot.start, lot.end, *figures)
    return max([lot.purchased_at, *(at for at in changes if at is not None and at <= now)])
