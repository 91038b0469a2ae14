"""Distinct resources over spans of hours, against sets of resources."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.resource_hours import LONGEST_SPAN_HOURS, ResourceHour, distinct_resources

SIGHTINGS = st.dictionaries(st.integers(0, 80), st.sets(st.sampled_from("abcdef"), min_size=1), max_size=40)


def counted(sightings: dict[int, set[str]]) -> list[ResourceHour]:
    """Return the hours as metering counts them.

    Gaps of more than 24 hours are left out.
    """
    gaps: dict[int, dict[int, int]] = {hour: {} for hour in sightings}
    for resource in set().union(*sightings.values()) if sightings else ():
        for before, hour in pairwise(sorted(hour for hour, seen in sightings.items() if resource in seen)):
            if hour - before < LONGEST_SPAN_HOURS:
                gaps[hour][hour - before] = gaps[hour].get(hour - before, 0) + 1
    return [ResourceHour(hour, len(seen), sorted(gaps[hour].items())) for hour, seen in sightings.items()]


@given(SIGHTINGS, st.integers(-5, 85), st.integers(1, LONGEST_SPAN_HOURS))
def test_the_distinct_resources_of_a_span_are_those_of_its_hours_together(
    sightings: dict[int, set[str]], first: int, count: int
) -> None:
    wanted = set().union(*(seen for hour, seen in sightings.items() if first <= hour < first + count))
    assert distinct_resources(counted(sightings), first, count) == len(wanted)


def test_a_resource_is_counted_once_when_the_day_has_25_hours() -> None:
    hours = counted({0: {"a"}, 24: {"a", "b"}})
    assert distinct_resources(hours, 0, 25) == 2
    assert distinct_resources(hours, 1, 24) == 2


def test_a_span_is_refused_when_it_is_longer_than_what_hours_tell_apart() -> None:
    with pytest.raises(ValueError, match="26 hours"):
        distinct_resources([], 0, 26)
