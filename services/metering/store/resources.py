"""Which resources a meter counted in a window."""

from datetime import datetime

from shared.runtime.postgres.pool import Connection, Row

# An ordered read of the primary key, of one partition: a page costs the same at any place of any number of resources.
_PAGE = """
SELECT resource, received_at FROM sighting
WHERE subscription = $1 AND meter = $2 AND window_start = $3 AND resource > $4
ORDER BY resource LIMIT $5
"""
_COUNTED = "SELECT aggregate FROM meter_window WHERE subscription = $1 AND meter = $2 AND window_start = $3"


Where = tuple[int, int, datetime]
"""Subscription number, meter number, window start."""


async def load_page(connection: Connection, where: Where, after: str, limit: int) -> list[Row]:
    """Some resources by code points, beginning after one (``""``: with the first), each with when it first came."""
    return list(await connection.fetch(_PAGE, *where, after, limit))


async def count(connection: Connection, where: Where) -> int:
    """How many there are."""
    return int(await connection.fetchval(_COUNTED, *where) or 0)
