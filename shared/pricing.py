"""Prices of units: exact arithmetic in integers and fractions, without floats.

Money is in minor units of a currency.

Each of these is rounded half up, once; figures between them are exact:

- price of one unit and year = list price x (10,000 - discount) / 10,000;
- total = units x that price x years (without discount: units x list price x years);
- cost of some units of the pool = units x blended price.

Years = whole calendar years of the span + remaining days / 365. A day that has begun counts as a day; the remaining
days are at most 365. The discount is in basis points.

The tier is that of all units committed in the term, these included, and holds for all units of the purchase. Earlier
purchases keep their price.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Final

from shared.events.envelope import Frozen, Instant
from shared.events.state import Lot, Price, PriceList, SubscriptionState, Term, Tier

DAYS_OF_A_YEAR: Final = 365
MAX_MINOR: Final = 2**53 - 1
"""The largest amount: exact in every JSON reader."""
_DAY: Final = timedelta(days=1)


class Quote(Frozen):
    """A price for ``units`` from ``start`` to ``end``, with its arithmetic.

    Nothing is bought yet.
    ``committed_units`` are those that the term has already, ``cumulative_units`` with these. ``list_total_minor`` is
    the total without discount, ``discount_minor`` what the tier saves. ``next_tier_from_units``: where the next begins.
    """

    units: int
    start: Instant
    end: Instant
    years: str
    currency: str
    price_list_version: int
    list_price_minor: int
    committed_units: int
    cumulative_units: int
    tier_from_units: int
    next_tier_from_units: int | None
    discount_basis_points: int
    unit_price_minor: int
    list_total_minor: int
    discount_minor: int
    total_minor: int

    @property
    def price(self) -> Price:
        """The price as stored in a lot."""
        return Price(
            currency=self.currency,
            price_list_version=self.price_list_version,
            list_price_minor=self.list_price_minor,
            tier_from_units=self.tier_from_units,
            discount_basis_points=self.discount_basis_points,
            unit_price_minor=self.unit_price_minor,
            years=self.years,
            total_minor=self.total_minor,
        )


def quote(price_list: PriceList, units: int, start: datetime, end: datetime, *, committed: int = 0) -> Quote:
    """Quote ``units`` on top of ``committed`` ones of the same term.

    Raises:
        ValueError: no units, or a span that does not go forward.
    """
    if units < 1 or committed < 0:
        raise ValueError(f"no price for {units} units on top of {committed}")
    spans = Span.of(start, end)
    tier = tier_of(price_list, committed + units)
    following = next((one for one in price_list.tiers if one.from_units > tier.from_units), None)
    unit_price = half_up(Fraction(price_list.list_price_minor * (10_000 - tier.discount_basis_points), 10_000))
    total = half_up(units * unit_price * spans.exact)
    list_total = half_up(units * price_list.list_price_minor * spans.exact)
    return Quote(
        units=units,
        start=start,
        end=end,
        years=str(spans),
        currency=price_list.currency,
        price_list_version=price_list.version,
        list_price_minor=price_list.list_price_minor,
        committed_units=committed,
        cumulative_units=committed + units,
        tier_from_units=tier.from_units,
        next_tier_from_units=following.from_units if following else None,
        discount_basis_points=tier.discount_basis_points,
        unit_price_minor=unit_price,
        list_total_minor=list_total,
        discount_minor=list_total - total,
        total_minor=total,
    )


def quote_for(price_list: PriceList, state: SubscriptionState, units: int, start: datetime, end: datetime) -> Quote:
    """Quote a purchase of ``units`` from ``start`` to ``end`` for a subscription.

    The lots of the term in force at ``start`` count for the tier.

    Raises:
        ValueError: no units, or a span that does not go forward.
    """
    return quote(price_list, units, start, end, committed=committed_units(state.lots, state.term_at(start)))


def committed_units(lots: Iterable[Lot], term: Term) -> int:
    """Sum of the units of lots that begin in the term, without voided ones."""
    return sum(lot.units for lot in lots if lot.voided_at is None and term.start <= lot.start < term.end)


def tier_of(price_list: PriceList, units: int) -> Tier:
    """The highest tier of ``price_list`` that begins at or below ``units``."""
    return [tier for tier in price_list.tiers if tier.from_units <= units][-1]


@dataclass(frozen=True, slots=True)
class Span:
    """A paid span: whole calendar years, and days of a further one, at most 365."""

    years: int
    days: int

    @classmethod
    def of(cls, start: datetime, end: datetime) -> "Span":
        """Return the span between two instants.

        A year that begins on 29 February ends on 28 February.

        Raises:
            ValueError: it does not go forward.
        """
        if start >= end:
            raise ValueError(f"{start} is not before {end}")
        years = end.year - start.year
        if _anniversary(start, years) > end:
            years -= 1
        rest = -((_anniversary(start, years) - end) // _DAY)
        return cls(years, min(rest, DAYS_OF_A_YEAR))

    @property
    def exact(self) -> Fraction:
        """Its length in years."""
        return self.years + Fraction(self.days, DAYS_OF_A_YEAR)

    def __str__(self) -> str:
        """Its length in years as an exact fraction: ``"1"``, ``"73/365"``."""
        if not self.days:
            return str(self.years)
        return f"{self.years * DAYS_OF_A_YEAR + self.days}/{DAYS_OF_A_YEAR}"


def half_up(amount: Fraction) -> int:
    """Round to the nearest integer, half up. Amounts are never negative."""
    return (2 * amount.numerator + amount.denominator) // (2 * amount.denominator)


@dataclass(frozen=True, slots=True)
class BlendedPrice:
    """The exact average price of a unit of the pool, over the paid spans of its lots."""

    currency: str
    minor_per_unit: Fraction

    def cost(self, units: int) -> int:
        """The cost of a number of units, rounded half up.

        The costs of parts differ from the cost of their sum by at most half a minor unit for each part and one half.
        """
        return half_up(units * self.minor_per_unit)


def blended_price(lots: Iterable[Lot]) -> BlendedPrice | None:
    """The blended price of the lots that count: their totals / their units.

    So a product's allocation costs its share of what was paid, and the whole pool costs what was paid. ``None`` where
    nothing counts, a lot has no price (it was bought before there was a price list), or the currencies differ.
    """
    counting = tuple(lots)
    prices = [lot.price for lot in counting if lot.price is not None]
    currencies = {price.currency for price in prices}
    if len(currencies) != 1 or len(prices) < len(counting):
        return None
    total, units = sum(price.total_minor for price in prices), sum(lot.units for lot in counting)
    return BlendedPrice(currencies.pop(), Fraction(total, units))


class ProductCost(Frozen):
    """The cost of a product, by its allocated and by its consumed units."""

    product: str
    currency: str
    allocated_minor: int
    consumed_minor: int


def product_costs(state: SubscriptionState, consumed: dict[str, int], now: datetime) -> tuple[ProductCost, ...] | None:
    """Return the costs of the products that have not ended.

    They are at the blended price of the lots that count at ``now``; ``None`` if the pool has no blended price.

    ``consumed``: units by product.
    """
    blended = blended_price(state.lots_at(now))
    if blended is None:
        return None
    return tuple(
        ProductCost(
            product=one.product,
            currency=blended.currency,
            allocated_minor=blended.cost(one.allocated),
            consumed_minor=blended.cost(consumed.get(one.product, 0)),
        )
        for one in state.active_products
    )


def _anniversary(start: datetime, years: int) -> datetime:
    try:
        return start.replace(year=start.year + years)
    except ValueError:  # 29 February
        return start.replace(year=start.year + years, day=28)
