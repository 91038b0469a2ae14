"""Money for people: integer minor units, written with the currency. Never a float."""

from decimal import Decimal

from shared.events.state import Price

_DIGITS = {"BHD": 3, "CLP": 0, "IQD": 3, "ISK": 0, "JOD": 3, "JPY": 0, "KRW": 0, "KWD": 3, "OMR": 3, "TND": 3, "VND": 0}
"""Decimal digits of a currency's minor unit (ISO 4217), if they are not two."""


def main_units(minor: int, currency: str) -> Decimal:
    """Return ``4250000`` and ``EUR`` as the decimal ``42500.00``."""
    return Decimal(minor).scaleb(-_DIGITS.get(currency, 2))


def amount(minor: int, currency: str) -> str:
    """Format ``4250000`` and ``EUR`` as ``42,500.00 EUR``."""
    digits = _DIGITS.get(currency, 2)
    whole, rest = divmod(minor, 10**digits)
    return f"{whole:,}.{rest:0{digits}} {currency}" if digits else f"{whole:,} {currency}"


def arithmetic(units: int, price: Price) -> str:
    """Format how the total price of units is computed.

    For example: ``50,000 units x 8.50 EUR x 1 year = 425,000.00 EUR (list 10.00 EUR less 15% from 50,000 units)``.
    """
    off = price.discount_basis_points
    percent = f"{off // 100}.{off % 100:02}".rstrip("0").rstrip(".")
    each, total = amount(price.unit_price_minor, price.currency), amount(price.total_minor, price.currency)
    from_list = f"list {amount(price.list_price_minor, price.currency)}"
    if off:
        from_list += f" less {percent}% from {price.tier_from_units:,} units"
    years = f"{price.years} year" if price.years == "1" else f"{price.years} years"
    return f"{units:,} {'unit' if units == 1 else 'units'} x {each} x {years} = {total} ({from_list})"
