"""Quantities: integers or plain decimal strings, exact, within the contract's bounds (30 digits, 12 decimals)."""

import re
from decimal import Decimal

MAX_WHOLE = 10**18
"""The first whole quantity that is too large."""

_PLAIN = re.compile(r"\d{1,18}(?:\.\d{1,12})?", re.ASCII)


def is_quantity(value: object) -> bool:
    """Whether ``value``, as JSON gave it, is a quantity: no float, no exponent, no sign."""
    if isinstance(value, str):
        return _PLAIN.fullmatch(value) is not None
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MAX_WHOLE


def exact(value: int | str) -> Decimal:
    """The number that a quantity is."""
    return Decimal(value)
