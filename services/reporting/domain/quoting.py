"""Quotes: what units would cost, before anything is bought."""

from datetime import datetime
from typing import Any

from services.reporting.domain.money import arithmetic
from shared import pricing
from shared.events.refusals import Refusal
from shared.events.state import PriceList, SubscriptionState

Body = dict[str, Any]
_ENDED = frozenset({"expired", "cancelled"})


def quoted(price_list: PriceList, units: int, state: SubscriptionState | None, now: datetime) -> Body | Refusal:
    """A purchase now: for the rest of the subscription's term, else for a year (also where the term is over)."""
    if state is not None and state.model != "flex":
        return Refusal(code="not_a_flex_subscription", message="Units are sold to flexible subscriptions only.")
    if state is not None and state.state in _ENDED:
        message = f"The subscription is {state.state}; nothing can be bought for it."
        return Refusal(code="subscription_not_active", message=message, details={"state": state.state})
    term = state.term_at(now) if state else None
    if state is not None and term is not None and now < term.end:
        quote = pricing.quote_for(price_list, state, units, max(now, term.start), term.end)
    else:
        quote = pricing.quote(price_list, units, now, in_a_year(now))
    if quote.list_total_minor > pricing.MAX_MINOR:
        error = {"field": "units", "message": "so many that their price cannot be written exactly"}
        return Refusal(code="invalid_request", message="The request is not valid.", details={"errors": [error]})
    return {**quote.model_dump(), "arithmetic": arithmetic(units, quote.price)}


def in_a_year(at: datetime) -> datetime:
    """The same day of the next year; the 28th for a 29 February."""
    try:
        return at.replace(year=at.year + 1)
    except ValueError:
        return at.replace(year=at.year + 1, day=28)
