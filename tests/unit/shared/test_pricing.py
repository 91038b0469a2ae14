"""Prices: exact, rounded half up once, at every tier and for every span."""

from datetime import UTC, datetime, timedelta
from fractions import Fraction
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.events.ids import LotId
from shared.events.state import Lot, PriceList, Tier
from shared.pricing import (
    BlendedPrice,
    Span,
    blended_price,
    committed_units,
    half_up,
    product_costs,
    quote,
    quote_for,
)
from tests.support.builders.subscriptions import END, NOW, START, subscription

DOMAIN_TIERS = {0: 0, 10_000: 800, 50_000: 1500, 250_000: 2200, 1_000_000: 2800}
YEAR = (datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC))


def price_list(list_price: int = 1000, tiers: dict[int, int] | None = None, **changes: Any) -> PriceList:
    """A price list; by default that of the demo, 10.00 per unit and year."""
    table = DOMAIN_TIERS if tiers is None else tiers
    steps = tuple(Tier(from_units=units, discount_basis_points=discount) for units, discount in table.items())
    values = {"currency": "EUR", "list_price_minor": list_price, "tiers": steps, "version": 3, **changes}
    return PriceList.model_validate(values)


@pytest.mark.parametrize(
    ("units", "tier", "discount", "unit_price", "total"),
    [
        (1, 0, 0, 1000, 1000),
        (9_999, 0, 0, 1000, 9_999_000),
        (10_000, 10_000, 800, 920, 9_200_000),
        (10_001, 10_000, 800, 920, 9_200_920),
        (49_999, 10_000, 800, 920, 45_999_080),
        (50_000, 50_000, 1500, 850, 42_500_000),
        (249_999, 50_000, 1500, 850, 212_499_150),
        (250_000, 250_000, 2200, 780, 195_000_000),
        (999_999, 250_000, 2200, 780, 779_999_220),
        (1_000_000, 1_000_000, 2800, 720, 720_000_000),
        (1_000_001, 1_000_000, 2800, 720, 720_000_720),
    ],
)
def test_the_price_of_a_year_on_each_side_of_every_tier(
    units: int, tier: int, discount: int, unit_price: int, total: int
) -> None:
    asked = quote(price_list(), units, *YEAR)
    assert (asked.tier_from_units, asked.discount_basis_points) == (tier, discount)
    assert (asked.unit_price_minor, asked.total_minor, asked.years) == (unit_price, total, "1")
    assert asked.list_total_minor == units * 1000
    assert asked.discount_minor == asked.list_total_minor - total
    assert asked.next_tier_from_units == next((one for one in DOMAIN_TIERS if one > units), None)
    assert asked.price.total_minor == total
    assert asked.price.price_list_version == 3


@pytest.mark.parametrize(
    ("committed", "units", "unit_price"), [(9_999, 1, 920), (9_998, 1, 1000), (0, 1, 1000), (49_999, 1, 850)]
)
def test_a_top_up_is_priced_at_the_cumulative_tier(committed: int, units: int, unit_price: int) -> None:
    asked = quote(price_list(), units, *YEAR, committed=committed)
    assert asked.unit_price_minor == unit_price
    assert (asked.committed_units, asked.cumulative_units) == (committed, committed + units)
    assert asked.total_minor == units * unit_price


@pytest.mark.parametrize(
    ("list_price", "discount", "unit_price"),
    [(5, 1000, 5), (5, 1001, 4), (1, 5000, 1), (1, 5001, 0), (333, 800, 306), (1000, 10_000, 0), (0, 0, 0)],
)
def test_the_unit_price_is_rounded_half_up(list_price: int, discount: int, unit_price: int) -> None:
    assert quote(price_list(list_price, {0: discount}), 7, *YEAR).unit_price_minor == unit_price


@pytest.mark.parametrize(
    ("start", "end", "years"),
    [
        ("2026-01-01T00:00", "2027-01-01T00:00", "1"),
        ("2024-01-01T00:00", "2025-01-01T00:00", "1"),
        ("2026-01-01T00:00", "2029-01-01T00:00", "3"),
        ("2026-01-01T00:00", "2026-03-15T00:00", "73/365"),
        ("2026-01-01T00:00", "2027-03-15T00:00", "438/365"),
        ("2026-01-01T00:00", "2026-01-01T00:01", "1/365"),
        ("2026-01-01T12:00", "2026-01-02T12:00", "1/365"),
        ("2026-01-01T12:00", "2026-01-02T12:01", "2/365"),
        ("2026-01-01T00:00", "2026-12-31T23:59", "365/365"),
        ("2027-03-01T00:00", "2028-02-29T23:00", "365/365"),
        ("2024-02-29T00:00", "2025-02-28T00:00", "1"),
        ("2024-02-29T00:00", "2028-02-29T00:00", "4"),
        ("2024-02-29T00:00", "2025-02-27T00:00", "364/365"),
    ],
)
def test_years_are_calendar_years_and_begun_days(start: str, end: str, years: str) -> None:
    span = Span.of(*(datetime.fromisoformat(at).replace(tzinfo=UTC) for at in (start, end)))
    assert str(span) == years
    assert span.exact == Fraction(years)


def test_the_total_is_rounded_half_up_once() -> None:
    one_day = (START, START + timedelta(days=1))
    assert quote(price_list(365, {0: 0}), 1, *one_day).total_minor == 1
    assert quote(price_list(182, {0: 0}), 1, *one_day).total_minor == 0
    assert quote(price_list(183, {0: 0}), 1, *one_day).total_minor == 1
    assert quote(price_list(73, {0: 0}), 5, START, START + timedelta(days=1, microseconds=1)).total_minor == 2
    half_a_day_more = quote(price_list(73, {0: 0}), 5, START, START + timedelta(hours=12))
    assert half_a_day_more.total_minor == 1


@pytest.mark.parametrize(("units", "committed", "days"), [(0, 0, 1), (-1, 0, 1), (1, -1, 1), (1, 0, 0), (1, 0, -1)])
def test_a_quote_is_refused_when_units_or_span_are_empty(units: int, committed: int, days: int) -> None:
    with pytest.raises(ValueError, match=r"is not before|no price"):
        quote(price_list(), units, START, START + timedelta(days=days), committed=committed)


INSTANTS = st.datetimes(datetime(2020, 1, 1), datetime(2060, 1, 1)).map(lambda at: at.replace(tzinfo=UTC))  # noqa: DTZ001
SPANS = st.tuples(INSTANTS, INSTANTS).filter(lambda span: span[0] < span[1])


@st.composite
def price_lists(draw: st.DrawFn) -> PriceList:
    places = sorted(draw(st.sets(st.integers(1, 10**7), max_size=5)))
    discounts = sorted(draw(st.lists(st.integers(0, 10_000), min_size=len(places) + 1, max_size=len(places) + 1)))
    return price_list(draw(st.integers(0, 10**9)), dict(zip([0, *places], discounts, strict=True)))


@given(price_lists(), st.integers(1, 2**40), st.integers(0, 2**40), SPANS)
def test_a_quote_differs_from_the_exact_price_by_at_most_half_a_minor_unit(
    prices: PriceList, units: int, committed: int, span: tuple[datetime, datetime]
) -> None:
    asked = quote(prices, units, *span, committed=committed)
    years = Span.of(*span).exact
    exact_unit = Fraction(prices.list_price_minor * (10_000 - asked.discount_basis_points), 10_000)
    assert -Fraction(1, 2) <= exact_unit - asked.unit_price_minor < Fraction(1, 2)
    assert -Fraction(1, 2) <= units * asked.unit_price_minor * years - asked.total_minor < Fraction(1, 2)
    assert asked.tier_from_units <= committed + units
    assert asked.next_tier_from_units is None or committed + units < asked.next_tier_from_units
    assert asked.discount_minor >= 0
    assert Fraction(asked.years) == years


@given(price_lists(), st.integers(1, 10**6), SPANS)
def test_the_unit_price_never_grows_with_the_committed_units(
    prices: PriceList, units: int, span: tuple[datetime, datetime]
) -> None:
    unit_prices = [
        quote(prices, units, *span, committed=committed).unit_price_minor
        for committed in (0, *(tier.from_units for tier in prices.tiers), 10**8)
    ]
    assert all(later <= earlier for earlier, later in pairwise(unit_prices))


@given(INSTANTS, st.lists(st.timedeltas(timedelta(microseconds=1), timedelta(days=4000)), min_size=2, max_size=5))
def test_a_longer_span_never_costs_less(start: datetime, lengths: list[timedelta]) -> None:
    years = [Span.of(start, start + length).exact for length in sorted(lengths)]
    assert all(shorter <= longer for shorter, longer in pairwise(years))


def lot(units: int, total: int | None, *, at: datetime = START, currency: str = "EUR", **changes: Any) -> Lot:
    price = None
    if total is not None:
        price = quote(price_list(currency=currency), units, *YEAR).price.model_copy(update={"total_minor": total})
    made = Lot(
        id=LotId(f"l-{units}"), units=units, start=at, end=END, order_reference="PO", purchased_at=at, price=price
    )
    return made.model_copy(update=changes)


def test_only_the_terms_own_lots_count_for_the_tier() -> None:
    state = subscription(lots=(lot(100, 1), lot(50, 1, voided_at=NOW), lot(7, 1, at=END))).state
    assert committed_units(state.lots, state.term) == 100
    assert quote_for(price_list(), state, 9_900, NOW, END).tier_from_units == 10_000
    assert quote_for(price_list(), state, 9_899, NOW, END).tier_from_units == 0


def test_the_blended_price_is_the_total_paid_per_unit() -> None:
    assert blended_price([lot(10, 1000), lot(20, 1000)]) == BlendedPrice("EUR", Fraction(200, 3))


@pytest.mark.parametrize(
    "lots", [[], [lot(10, None)], [lot(10, 5), lot(20, None)], [lot(1, 5), lot(2, 5, currency="USD")]]
)
def test_there_is_no_blended_price_when_a_lot_has_no_price_or_another_currency(lots: list[Lot]) -> None:
    assert blended_price(lots) is None


def test_a_product_costs_its_units_at_the_blended_price() -> None:
    state = subscription(lots=(lot(300, 100_000),), scan=100, hub=50).state
    costs = product_costs(state, {"scan": 10}, NOW)
    assert costs is not None
    assert [(one.product, one.allocated_minor, one.consumed_minor) for one in costs] == [
        ("scan", 33_333, 3_333),
        ("hub", 16_667, 0),
    ]
    assert product_costs(state, {}, END + timedelta(days=500)) is not None
    assert product_costs(subscription(100, scan=1).state, {}, NOW) is None


@given(
    st.lists(st.integers(0, 10**9), min_size=1, max_size=25),
    st.integers(0, 10**12),
    st.integers(1, 10**9),
)
def test_the_sum_of_the_parts_differs_by_at_most_half_a_minor_unit_each(
    parts: list[int], total: int, units: int
) -> None:
    blended = BlendedPrice("EUR", Fraction(total, units))
    difference = sum(map(blended.cost, parts)) - blended.cost(sum(parts))
    assert 2 * abs(difference) <= len(parts) + 1
    assert blended.cost(units) == total


@given(st.fractions(0, 10**9))
def test_half_up_is_the_nearest_integer(amount: Fraction) -> None:
    assert -Fraction(1, 2) <= amount - half_up(amount) < Fraction(1, 2)
