"""Crossings of a path and its limits, held to a search second by second."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from services.reporting.domain.insights.paths import Limit, Point, first_crossing, highest
from tests.support.builders.insights import BEGAN

SECOND = timedelta(seconds=1)


def path_of(values: list[int], every: int) -> tuple[Point, ...]:
    """Build a path with a point every so many seconds."""
    return tuple(Point(BEGAN + SECOND * (every * place), value, value) for place, value in enumerate(values))


@given(
    st.lists(st.integers(0, 50), min_size=2, max_size=6),
    st.integers(1, 30),
    st.lists(st.tuples(st.integers(0, 160), st.integers(0, 60)), min_size=0, max_size=3, unique_by=lambda one: one[0]),
    st.integers(0, 60),
    st.integers(0, 40),
)
def test_crossing_is_the_first_second_at_which_the_line_reaches_the_limit(
    values: list[int], every: int, changes: list[tuple[int, int]], first: int, since: int
) -> None:
    start = BEGAN + SECOND * since
    limits = [Limit(start, first)]
    limits += [Limit(BEGAN + SECOND * at, units) for at, units in sorted(changes) if at > since]
    found = first_crossing(path_of(values, every), "median", limits, start)
    expected = None
    for second in range(since, every * (len(values) - 1) + 1):
        place, at = min(second // every, len(values) - 2), BEGAN + SECOND * second
        line = values[place] + (values[place + 1] - values[place]) * (second - place * every) / every
        limit = [one.units for one in limits if one.since <= at][-1]
        if line >= limit - 1e-9:
            expected = at
            break
    if expected is None or found is None:
        last = BEGAN + SECOND * (every * (len(values) - 1))
        assert found == expected or (found is not None and found > last - SECOND)
    else:
        assert abs(found - expected) <= SECOND


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=6), st.integers(1, 30), st.integers(0, 200))
def test_highest_is_the_highest_second_until_the_instant(values: list[int], every: int, until: int) -> None:
    found = highest(path_of(values, every), "low", BEGAN + SECOND * until)
    end = min(until, every * (len(values) - 1))
    line = [
        values[min(second // every, len(values) - 2)]
        + (values[min(second // every, len(values) - 2) + 1] - values[min(second // every, len(values) - 2)])
        * (second - min(second // every, len(values) - 2) * every)
        / every
        if len(values) > 1
        else values[0]
        for second in range(end + 1)
    ]
    assert found is not None
    assert abs(found - max(line)) <= 1
    assert found >= max(line) - 1e-6


def test_a_path_without_a_range_has_no_edges() -> None:
    path = (Point(BEGAN, 1), Point(BEGAN + SECOND, 5))
    assert first_crossing(path, "high", [Limit(BEGAN, 3)], BEGAN) is None
    assert highest(path, "high", BEGAN) is None
    assert highest(path, "median", BEGAN - SECOND) is None
    assert highest((), "median", BEGAN) is None
