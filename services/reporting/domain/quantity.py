"""Exact aggregates, as JSON has them."""

from decimal import Decimal

from shared.units import MAX_UNITS


def quantity(exact: Decimal) -> int | str:
    """An exact aggregate for JSON: an integer where it is one that every reader holds, else a decimal string."""
    if exact == exact.to_integral_value() and exact <= MAX_UNITS:
        return int(exact)
    text = f"{exact:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
