"""The proposal's choice, held to a solver of integer programs: goal by goal."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import Bounds, LinearConstraint, milp

from services.reporting.domain.insights.proposal import Candidate, best_allocations, unmet

TRIALS = 300
Goals = tuple[int, int, int]


def goals_of(candidates: list[Candidate], chosen: dict[str, int]) -> Goals:
    """Return the unmet need, the units taken, and the number of products lowered."""
    lowered = [one.allocated - chosen[one.product] for one in candidates if chosen[one.product] < one.allocated]
    return unmet(candidates, chosen), sum(lowered), len(lowered)


def best_goals(candidates: list[Candidate], purchased: int) -> Goals | None:
    """Solve for each goal in turn, with those before it held; ``None``: infeasible.

    Variables of each product: allocation, unmet need, units taken, and whether it is lowered.
    """
    count, big = len(candidates), sum(one.allocated for one in candidates) + purchased + 1
    lower = [one.least for one in candidates] + [0] * (3 * count)
    upper = [min(one.most, big) for one in candidates] + [np.inf] * count * 2 + [1] * count
    rows, low, high = [], [], []

    def constrain(entries: dict[int, float], at_least: float, at_most: float) -> None:
        row = np.zeros(4 * count)
        for place, factor in entries.items():
            row[place] = factor
        rows.append(row)
        low.append(at_least)
        high.append(at_most)

    for place, one in enumerate(candidates):
        constrain({place: 1, count + place: 1}, one.need, np.inf)
        constrain({place: 1, 2 * count + place: 1}, one.allocated, np.inf)
        constrain({2 * count + place: 1, 3 * count + place: -max(1, one.allocated)}, -np.inf, 0)
    constrain(dict.fromkeys(range(count), 1.0), -np.inf, purchased)
    found: list[int] = []
    for goal in range(1, 4):
        objective = np.zeros(4 * count)
        objective[goal * count : (goal + 1) * count] = 1
        solved = milp(
            objective,
            constraints=LinearConstraint(np.array(rows), low, high),
            integrality=np.ones(4 * count),
            bounds=Bounds(lower, upper),
        )
        if not solved.success:
            return None
        found.append(round(solved.fun))
        constrain(dict.fromkeys(range(goal * count, (goal + 1) * count), 1.0), -np.inf, found[-1] + 0.5)
    return found[0], found[1], found[2]


def candidates_of(chance: random.Random) -> tuple[list[Candidate], int]:
    """Make up products and a pool, over-allocated in some trials."""
    several = []
    for number in range(chance.randint(1, 7)):
        allocated = chance.choice([0, chance.randint(0, 40), chance.randint(0, 40)])
        need = chance.choice([0, allocated, chance.randint(0, 60)])
        least = chance.choice([allocated, 0, chance.randint(0, allocated)])
        several.append(Candidate(f"p{number}", allocated, need, least, chance.choice([allocated, 10**6, 10**6])))
    allocated = sum(one.allocated for one in several)
    purchased = allocated + chance.choice([0, chance.randint(0, 40), -chance.randint(0, allocated)])
    if purchased < allocated:
        several = [Candidate(one.product, one.allocated, one.need, one.least, one.allocated) for one in several]
    return several, purchased


@pytest.mark.parametrize("seed", range(TRIALS))
def test_choice_is_as_good_as_the_solvers(seed: int) -> None:
    candidates, purchased = candidates_of(random.Random(seed))
    expected, chosen = best_goals(candidates, purchased), best_allocations(candidates, purchased)
    assert (None if chosen is None else goals_of(candidates, chosen)) == expected


Product = st.tuples(st.integers(0, 10**12), st.integers(0, 10**12), st.floats(0, 1), st.booleans())


@settings(max_examples=300)
@given(st.lists(Product, max_size=25), st.integers(0, 26 * 10**12))
def test_choice_keeps_every_bound_and_the_pool(products: list[tuple[int, int, float, bool]], purchased: int) -> None:
    allocated = sum(units for units, *_ in products)
    candidates = [
        Candidate(
            f"p{number}",
            units,
            need,
            int(units * share),
            10**15 if may_be_raised and purchased >= allocated else units,
        )
        for number, (units, need, share, may_be_raised) in enumerate(products)
    ]
    chosen = best_allocations(candidates, purchased)
    if chosen is None:
        assert sum(one.least for one in candidates) > purchased
        return
    assert sum(chosen.values()) <= purchased
    for one in candidates:
        assert one.least <= chosen[one.product] <= one.most
        assert chosen[one.product] <= max(one.allocated, one.need), "no more than is needed"
    if purchased >= allocated:
        assert unmet(candidates, chosen) <= unmet(candidates, {one.product: one.allocated for one in candidates})


def test_the_fewest_products_are_lowered() -> None:
    several = [Candidate("needs", 10, 40, 10, 1000)]
    several += [Candidate(f"p{spare}", spare, 0, 0, 1000) for spare in (10, 25, 12, 20)]
    chosen = best_allocations(several, 77)
    assert chosen == {"needs": 40, "p10": 10, "p25": 0, "p12": 12, "p20": 15}


def test_nothing_is_taken_while_there_are_unallocated_units() -> None:
    several = [Candidate("needs", 10, 40, 10, 1000), Candidate("idle", 50, 0, 0, 1000)]
    assert best_allocations(several, 90) == {"needs": 40, "idle": 50}
    assert best_allocations(several, 85) == {"needs": 40, "idle": 45}
