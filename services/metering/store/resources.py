"""The resources that a meter counted in a window."""

from datetime import datetime
from typing import NamedTuple

from shared.runtime.postgres.pool import Connection

# An ordered read of the primary key, of one partition: a page costs the same at any place of any number of resources.
_PAGE = """
SELECT resource, received_at FROM sighting
WHERE subscription = $1 AND meter = $2 AND window_start = $3 AND resource > $4
ORDER BY resource LIMIT $5
"""
_COUNTED = "SELECT aggregate FROM meter_window WHERE subscription = $1 AND meter = $2 AND window_start = $3"


Where = tuple[int, int, datetime]
"""Subscription number, meter number, window start."""


class CountedResource(NamedTuple):
    """A resource, and the append time of the first usage in the window that names it."""

    resource: str
    first_received_at: datetime


async def load_page(connection: Connection, where: Where, after: str, limit: int) -> list[CountedResource]:
    """Load at most ``limit`` resources in order of code points.

    They are those after ``after``; an empty string begins with the first.
    """
    return [CountedResource(*row) for row in await connection.fetch(_PAGE, *where, after, limit)]


async def count(connection: Connection, where: Where) -> int:
    """Count the resources of a window."""
    return int(await connection.fetchval(_COUNTED, *where) or 0)
