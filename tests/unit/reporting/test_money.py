"""Amounts of money and quotes."""

from datetime import timedelta
from typing import Any

import pytest

from services.reporting.domain.money import amount
from services.reporting.domain.quotes import quote_units
from shared.events.refusals import Refusal
from shared.events.state import PriceList, Term, Tier
from tests.support.builders.published import NOW, subscription

PRICES = PriceList(
    currency="EUR",
    list_price_minor=1000,
    tiers=(Tier(from_units=0, discount_basis_points=0), Tier(from_units=1500, discount_basis_points=805)),
    version=3,
)


@pytest.mark.parametrize(
    ("minor", "currency", "text"),
    [(0, "EUR", "0.00 EUR"), (5, "EUR", "0.05 EUR"), (4_250_000, "USD", "42,500.00 USD"), (500, "JPY", "500 JPY")],
)
def test_amount_is_formatted_with_the_decimals_of_its_currency(minor: int, currency: str, text: str) -> None:
    assert amount(minor, currency) == text


def test_top_up_is_priced_at_the_cumulative_tier_for_the_rest_of_the_term() -> None:
    quote = quote_units(PRICES, 500, subscription(), NOW)
    assert not isinstance(quote, Refusal)
    assert (quote.committed_units, quote.discount_basis_points, quote.years) == (1000, 805, "315/365")
    assert quote.arithmetic == (
        f"500 units x 9.20 EUR x 315/365 years = {amount(quote.total_minor, 'EUR')} "
        "(list 10.00 EUR less 8.05% from 1,500 units)"
    )


@pytest.mark.parametrize("days", [0, 1, 29, 30, 119])
def test_quote_is_for_the_renewal_after_the_term(days: int) -> None:
    """It starts where the term ended; the old term's units do not count for its tier."""
    state = subscription(state="grace")
    quote = quote_units(PRICES, 500, state, state.term.end + timedelta(days=days))
    assert not isinstance(quote, Refusal)
    assert (quote.kind, quote.start, quote.committed_units) == ("renewal", state.term.end, 0)
    assert (quote.years, quote.total_minor) == ("1", 500_000)


def test_quote_is_a_top_up_until_the_last_instant_of_the_term() -> None:
    state = subscription()
    quote = quote_units(PRICES, 500, state, state.term.end - timedelta(microseconds=1))
    assert not isinstance(quote, Refusal)
    assert (quote.kind, quote.end, quote.committed_units) == ("top_up", state.term.end, 1000)


def test_quote_is_a_top_up_when_a_renewal_was_sold_and_has_not_begun() -> None:
    state = subscription(state="grace")
    begins = state.term.end + timedelta(days=10)
    sold = Term(start=begins, end=begins + timedelta(days=365))
    state = state.model_copy(update={"terms": (*state.all_terms, sold)})
    quote = quote_units(PRICES, 500, state, begins - timedelta(days=1))
    assert not isinstance(quote, Refusal)
    assert (quote.kind, quote.start, quote.end) == ("top_up", begins, sold.end)


def test_quote_is_for_a_year_without_a_subscription() -> None:
    quote = quote_units(PRICES, 1, None, NOW)
    assert not isinstance(quote, Refusal)
    assert (quote.kind, quote.years, quote.total_minor) == ("contract", "1", 1000)
    assert quote.arithmetic == "1 unit x 10.00 EUR x 1 year = 10.00 EUR (list 10.00 EUR)"


@pytest.mark.parametrize(
    ("units", "more", "code"),
    [
        (1, {"model": "per_product"}, "not_a_flex_subscription"),
        (1, {"state": "cancelled"}, "subscription_not_active"),
        (2**53 - 1, {}, "invalid_request"),
    ],
)
def test_quote_is_refused_when_nothing_could_be_bought(units: int, more: dict[str, Any], code: str) -> None:
    refusal = quote_units(PRICES, units, subscription(**more), NOW)
    assert isinstance(refusal, Refusal)
    assert refusal.code == code


def test_arithmetic_is_exact_for_large_numbers() -> None:
    quote = quote_units(PRICES, 10**12, None, NOW)
    assert not isinstance(quote, Refusal)
    assert isinstance(quote.total_minor, int)
    assert "1,000,000,000,000 units" in quote.arithmetic
