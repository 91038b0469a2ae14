"""Units, quantities and rates: exact arithmetic without floats.

All services share it.

A unit is an integer. A rate is a ratio ``units / block`` of two integers. A metered aggregate is an exact decimal.
"""

from decimal import Decimal
from fractions import Fraction
from typing import Annotated

from pydantic import Field

MAX_UNITS = 2**53 - 1
"""The largest number of units in one figure.

Every JSON reader reads it exactly, and it is far from a 64-bit overflow.
"""

Units = Annotated[int, Field(strict=True, ge=0, le=MAX_UNITS)]
"""A number of units, zero allowed. Strict: neither ``"5"`` nor ``5.0`` is one."""

PositiveUnits = Annotated[int, Field(strict=True, ge=1, le=MAX_UNITS)]
"""A number of units that must be at least one (a purchase, a rate's parts)."""


def units_for(aggregate: Decimal | int, units: int, block: int) -> int:
    """Return the pool units for ``aggregate`` metered things, rounded up.

    The rate is ``units`` per ``block``: the result is ``ceil(aggregate x units / block)``.

    Raises:
        ValueError: the aggregate is negative, or a part of the rate is not positive.
    """
    if aggregate < 0 or units <= 0 or block <= 0:
        raise ValueError(f"no consumption from aggregate {aggregate} at {units}/{block}")
    exact = Fraction(aggregate) * units / block
    return -(-exact.numerator // exact.denominator)


def percent_tenths(part: int, whole: int) -> int | None:
    """``part`` of ``whole`` in tenths of a percent, rounded half up.

    ``None`` if ``whole`` is not positive.
    """
    if whole <= 0:
        return None
    return (part * 2000 + whole) // (2 * whole)
