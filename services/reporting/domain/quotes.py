"""Quotes: the price of units before a purchase."""

from datetime import datetime
from typing import Literal

from services.reporting.domain.money import arithmetic
from shared import pricing
from shared.events.refusals import Refusal
from shared.events.state import PriceList, SubscriptionState

Kind = Literal["top_up", "renewal", "contract"]
_ENDED = frozenset({"expired", "cancelled"})


class QuotedUnits(pricing.Quote):
    """A quote with its ``kind``, its subscription, and its arithmetic in one line."""

    kind: Kind
    arithmetic: str
    subscription: str | None


def quote_units(
    price_list: PriceList, units: int, state: SubscriptionState | None, now: datetime
) -> QuotedUnits | Refusal:
    """Quote ``units`` at ``now``, or return why they cannot be bought.

    The ``kind``: ``top_up``, for the rest of the subscription's term, or a renewal that was sold and has not begun.
    ``renewal``, after the last term: a year from its end. ``contract``, without a subscription: a year from now.
    """
    if state is not None and state.model != "flex":
        return Refusal(code="not_a_flex_subscription", message="Units are sold to flexible subscriptions only.")
    if state is not None and state.state in _ENDED:
        message = f"The subscription is {state.state}; nothing can be bought for it."
        return Refusal(code="subscription_not_active", message=message, details={"state": state.state})
    kind, quote = _quoted_units(price_list, units, state, now)
    if quote.list_total_minor > pricing.MAX_MINOR:
        error = {"field": "units", "message": "is too large to price exactly"}
        return Refusal(code="invalid_request", message="The request is not valid.", details={"errors": [error]})
    return QuotedUnits(
        **dict(quote),
        kind=kind,
        arithmetic=arithmetic(units, quote.price),
        subscription=state.id if state else None,
    )


def _quoted_units(
    price_list: PriceList, units: int, state: SubscriptionState | None, now: datetime
) -> tuple[Kind, pricing.Quote]:
    if state is None:
        return "contract", pricing.quote(price_list, units, now, in_a_year(now))
    last = state.all_terms[-1]
    if now >= last.end:
        return "renewal", pricing.quote(price_list, units, last.end, in_a_year(last.end))
    term = state.term_at(now)
    term = term if now < term.end else last  # a renewal that was sold and has not begun
    return "top_up", pricing.quote_for(price_list, state, units, max(now, term.start), term.end)


def in_a_year(at: datetime) -> datetime:
    """Return the same day of the next year; the 28th for a 29 February."""
    try:
        return at.replace(year=at.year + 1)
    except ValueError:
        return at.replace(year=at.year + 1, day=28)
