"""Quantities: non-negative integers or plain decimal strings, exact.

The contract's bounds are 30 digits, of which 12 are decimals.
"""

import re
from decimal import Decimal

from shared.events.usage import UsageReversed

MAX_WHOLE = 10**18
"""The first whole quantity that is too large."""

_NEGATIVE = re.compile(r"\s*-\s*[0-9.]")
_PLAIN = re.compile(r"\d{1,18}(?:\.\d{1,12})?", re.ASCII)


def is_quantity(value: object) -> bool:
    """Whether ``value``, as JSON gave it, is a quantity.

    A quantity has no sign and no exponent, and is not a float.
    """
    if isinstance(value, str):
        return _PLAIN.fullmatch(value) is not None
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MAX_WHOLE


def quantity_fault(value: object) -> str:
    """Explain to the sender why ``value`` is not a quantity."""
    if _NEGATIVE.match(str(value)):
        return (
            f"a quantity is never negative; to take back usage that was sent before, reverse that event: "
            f"type {UsageReversed.event_type}, with the event's source and id in its data"
        )
    return "the quantity is no non-negative integer or plain decimal string of at most 18 digits and 12 decimals"


def exact(value: int | str) -> Decimal:
    """Convert a quantity to a decimal, exactly."""
    return Decimal(value)
