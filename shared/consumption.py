"""Arithmetic of the consumption of a pool's products, in whole units.

It is pure, and shared by all services.

A product's meters are of two kinds. Those that reset with the window make its *level* in a window; those that reset
with the term make what it has *burned down* of its allocation since the term began.
"""

from collections.abc import Iterable
from typing import Final

from shared.events.state import Lifecycle, OveragePolicy
from shared.units import MAX_UNITS

USABLE_STATES: Final[frozenset[Lifecycle]] = frozenset({"active", "exhausted", "grace"})
"""States in which a pool can be used.

In these, allocations may change, entitlements are granted, and alerts are raised.
"""


def consumed(level: int, burned_down: int) -> int:
    """Return the units that a product consumes, at most ``MAX_UNITS``.

    They are its level in the current window and what it burned down in the term.
    """
    return min(level + burned_down, MAX_UNITS)


def floor(level: int, last_level: int, burned_down: int) -> int:
    """Units below which a product cannot be allocated.

    The larger level of the current and the last closed window, so that a new window does not open a gap, and what was
    burned down in the term.
    """
    return min(max(level, last_level) + burned_down, MAX_UNITS)


def reserve_draws(products: Iterable[tuple[OveragePolicy, int, int]], unallocated: int) -> list[int]:
    """Return the units that each product draws from the pool's unallocated units.

    They are in the products' order, which is also the order in which the products draw.

    ``products``: policy, allocated, consumed. Only the policy ``reserve`` draws what it consumes beyond its allocation,
    until nothing unallocated is left.
    """
    draws = []
    for policy, allocated, used in products:
        draw = min(max(0, used - allocated), unallocated) if policy == "reserve" else 0
        unallocated -= draw
        draws.append(draw)
    return draws
