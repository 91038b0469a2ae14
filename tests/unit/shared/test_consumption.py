"""The arithmetic of consumption.

The tests cover floors, the cap of figures, and the units that ``reserve`` draws.
"""

from hypothesis import given
from hypothesis import strategies as st

from shared import consumption
from shared.events.state import OveragePolicy
from shared.units import MAX_UNITS

UNITS = st.integers(0, 10_000)
PRODUCTS = st.lists(st.tuples(st.sampled_from(["soft", "hard", "reserve"]), UNITS, UNITS), max_size=8)
Product = tuple[OveragePolicy, int, int]


@given(level=UNITS, last_level=UNITS, burned_down=UNITS)
def test_the_floor_is_at_least_what_is_consumed_and_does_not_fall_when_a_window_begins(
    level: int, last_level: int, burned_down: int
) -> None:
    floor = consumption.floor(level, last_level, burned_down)
    assert floor >= consumption.consumed(level, burned_down)
    assert consumption.floor(0, max(level, last_level), burned_down) == floor


def test_figures_are_capped_at_the_largest_integer_of_json_readers() -> None:
    assert consumption.consumed(MAX_UNITS, 1) == MAX_UNITS
    assert consumption.floor(0, MAX_UNITS, 1) == MAX_UNITS


@given(products=PRODUCTS, unallocated=UNITS)
def test_reserve_draws_at_most_the_unallocated_units_and_the_overage(products: list[Product], unallocated: int) -> None:
    draws = consumption.reserve_draws(products, unallocated)
    over = [max(0, used - allocated) if policy == "reserve" else 0 for policy, allocated, used in products]
    assert all(0 <= draw <= most for draw, most in zip(draws, over, strict=True))
    assert sum(draws) == min(sum(over), unallocated)


def test_reserve_draws_in_the_products_order() -> None:
    products: list[Product] = [("reserve", 10, 15), ("soft", 0, 9), ("reserve", 10, 18), ("reserve", 0, 1)]
    assert consumption.reserve_draws(products, 10) == [5, 0, 5, 0]
