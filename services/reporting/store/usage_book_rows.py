"""The books of usage and the quarantine in the order of their keys, for reports."""

from datetime import date, datetime

from services.reporting.domain.reports.usage_books import BookLine
from services.reporting.store.quarantine import Filter
from services.reporting.store.reconciliation import LineFilter
from shared.runtime.postgres.pool import Connection, Row

_LINES = """
SELECT day, product, source, accepted, applied, duplicate, quarantined, lost, revision FROM usage_books
WHERE (day, product, source) > ($1, $2, $3)
    AND ($5::date IS NULL OR day >= $5) AND ($6::date IS NULL OR day <= $6) AND ($7::text IS NULL OR product = $7)
ORDER BY day, product, source LIMIT $4
"""
_COUNT_LINES = """
SELECT count(*) FROM usage_books
WHERE ($1::date IS NULL OR day >= $1) AND ($2::date IS NULL OR day <= $2) AND ($3::text IS NULL OR product = $3)
"""
# What is not wanted is returned without its text: so a statement reads at most its limit, and ends soon.
_SCAN = """
SELECT id, settled_at, settled_as, CASE WHEN wanted THEN state END AS state
FROM (
    SELECT id, settled_at, settled_as, state,
        ($3::text IS NULL OR reason = $3) AND ($4::text IS NULL OR product = $4)
        AND ($5::text IS NULL OR coalesce(subscription = $5, false))
        AND ($6::timestamptz IS NULL OR received_at >= $6) AND ($7::timestamptz IS NULL OR received_at < $7) AS wanted
    FROM quarantine WHERE id > $1 ORDER BY id LIMIT $2
) AS scanned
ORDER BY id
"""
_COUNT_RECORDS = """
SELECT count(*) FROM quarantine
WHERE ($1::text IS NULL OR reason = $1) AND ($2::text IS NULL OR product = $2)
    AND ($3::text IS NULL OR subscription = $3)
    AND ($4::timestamptz IS NULL OR received_at >= $4) AND ($5::timestamptz IS NULL OR received_at < $5)
"""
BEFORE_ALL = date.min
"""A day before all lines."""


async def load_lines(
    connection: Connection, after: tuple[date, str, str], limit: int, wanted: LineFilter
) -> list[BookLine]:
    """Load the lines that follow ``after``: day, product and source."""
    rows = await connection.fetch(_LINES, *after, limit, wanted.first, wanted.last, wanted.product)
    return [BookLine(*row) for row in rows]


async def count_lines(connection: Connection, wanted: LineFilter) -> int:
    """Count the lines."""
    return int(await connection.fetchval(_COUNT_LINES, wanted.first, wanted.last, wanted.product))


async def scan_quarantine(connection: Connection, after: int, limit: int, wanted: Filter) -> list[Row]:
    """Read the next ``limit`` records: (id, settled_at, settled_as, state).

    ``state`` ``None``: the record is not wanted.
    """
    return await connection.fetch(_SCAN, after, limit, *_filter(wanted))


async def count_quarantine(connection: Connection, wanted: Filter) -> int:
    """Count the records."""
    return int(await connection.fetchval(_COUNT_RECORDS, *_filter(wanted)))


def _filter(wanted: Filter) -> tuple[str | datetime | None, ...]:
    return wanted.reason, wanted.product, wanted.subscription, wanted.start, wanted.end
