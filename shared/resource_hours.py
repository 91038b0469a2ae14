"""Counting distinct resources over spans of hours, from counts alone.

Numbers of distinct resources cannot be added: a resource seen in two hours is one resource. So each hour says how many
of its resources were seen before, and how many hours earlier. A resource is then counted in the first hour of a span in
which it was seen: in every hour whose last sighting before lies outside the span.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

LONGEST_SPAN_HOURS = 25
"""Longest span that can be counted: a day in which clocks are set back."""
LONGEST_GAP_HOURS = LONGEST_SPAN_HOURS - 1
"""Longest gap that is told apart.

Resources last seen earlier than this count as new.
"""


class ResourceHour(NamedTuple):
    """One hour: its distinct resources, and when they were last seen before.

    ``hour``: a number that grows by 1 each hour. ``returning``: (gap in hours, resources), each gap once.
    """

    hour: int
    resources: int
    returning: Sequence[tuple[int, int]] = ()


def distinct_resources(hours: Iterable[ResourceHour], first_hour: int, count: int) -> int:
    """Count the distinct resources of the ``count`` hours from ``first_hour`` on.

    ``hours``: those with usage. Hours outside the span are passed over.

    Raises:
        ValueError: the span is longer than 25 hours.
    """
    if count > LONGEST_SPAN_HOURS:
        raise ValueError(f"a span of {count} hours is too long to count resources")
    return sum(
        one.resources - sum(resources for gap, resources in one.returning if one.hour - gap >= first_hour)
        for one in hours
        if first_hour <= one.hour < first_hour + count
    )
