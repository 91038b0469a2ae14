"""The proposed rebalance: the best plan that passes every rule of allocations.

It chooses an allocation for each product, in whole units, between the least and the most that it may have, with a sum
of at most what is purchased. Its goals, in this order: the least need that is not met, the fewest units taken from
products, the fewest products that are lowered.

A greedy choice is optimal. The need that is not met is a sum, so a unit is worth the same to every product in need; so
only the number of units that are taken counts, and of the products that can spare some, those that can spare most
yield that number with the fewest. The tests compare it with a solver of integer programs.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Candidate:
    """A product, in units.

    ``least`` is at most ``allocated``, and ``most`` at least. ``need``: what it is expected to need.
    """

    product: str
    allocated: int
    need: int
    least: int
    most: int

    @property
    def lacking(self) -> int:
        """Units that it needs beyond its allocation, and may get."""
        return max(0, min(self.need, self.most) - self.allocated)

    @property
    def spare(self) -> int:
        """Units that it does not need, and may give."""
        return max(0, self.allocated - max(self.need, self.least))

    @property
    def needed_but_free(self) -> int:
        """Units beyond ``spare`` that it needs, but may give."""
        return max(0, self.allocated - self.spare - self.least)


Allocations = dict[str, int]
"""Units by product, of all products."""


def unmet(candidates: Iterable[Candidate], chosen: Allocations) -> int:
    """Return the units that products need beyond the chosen allocations."""
    return sum(max(0, one.need - chosen[one.product]) for one in candidates)


def best_allocations(candidates: Sequence[Candidate], purchased: int) -> Allocations | None:
    """Choose the best allocations; ``None``: none add up to what is purchased.

    While more is allocated than purchased, no product may get more (``most`` is its allocation), and the excess is
    taken from those that spare it.
    """
    chosen = {one.product: one.allocated for one in candidates}
    unallocated = purchased - sum(chosen.values())
    lacking = sum(one.lacking for one in candidates)
    taken = max(0, lacking - unallocated) if unallocated >= 0 else -unallocated
    spare = sum(one.spare for one in candidates)
    _take(chosen, {one.product: one.spare for one in candidates}, min(taken, spare))
    if unallocated < 0 and taken > spare:
        freed = {one.product: one.needed_but_free for one in candidates}
        if sum(freed.values()) < taken - spare:
            return None
        lowered = {one.product for one in candidates if one.spare}
        left = _take(chosen, {name: units for name, units in freed.items() if name in lowered}, taken - spare)
        _take(chosen, {name: units for name, units in freed.items() if name not in lowered}, left)
    _give(chosen, candidates, max(0, purchased - sum(chosen.values())))
    return chosen


def _take(chosen: Allocations, offers: Allocations, units: int) -> int:
    """Take units, the largest offer first; return those that are still to be taken."""
    for product in sorted(offers, key=lambda name: (-offers[name], name)):
        taken = min(units, offers[product])
        chosen[product] -= taken
        units -= taken
    return units


def _give(chosen: Allocations, candidates: Sequence[Candidate], units: int) -> None:
    """Give units to products that lack some, the smallest lack first.

    So the most products have what they need.
    """
    for one in sorted(candidates, key=lambda candidate: (candidate.lacking, candidate.product)):
        given = min(units, one.lacking)
        chosen[one.product] += given
        units -= given
