"""Exact aggregates in JSON."""

from decimal import Decimal

from shared.units import MAX_UNITS


def quantity(exact: Decimal) -> int | str:
    """Encode an exact aggregate for JSON.

    It is an integer if every JSON reader can hold it, else a decimal string.
    """
    if exact == exact.to_integral_value() and exact <= MAX_UNITS:
        return int(exact)
    text = f"{exact:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
