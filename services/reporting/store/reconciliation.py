"""The books of usage, as metering published them.

The newest revision of a line wins.
"""

from dataclasses import dataclass
from datetime import date
from typing import Any

from services.reporting.store.paging import Page, page, read_cursor, read_day
from shared.events.quarantine import BooksLine
from shared.runtime.postgres.pool import Connection

_UPSERT = """
INSERT INTO usage_books AS b (day, source, product, accepted, applied, duplicate, quarantined, lost, revision)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT (day, product, source) DO UPDATE SET accepted = excluded.accepted, applied = excluded.applied,
    duplicate = excluded.duplicate, quarantined = excluded.quarantined, lost = excluded.lost,
    revision = excluded.revision
WHERE b.revision < excluded.revision
"""
_LIST = """
SELECT day, source, product, accepted, applied, duplicate, quarantined, lost, revision FROM usage_books
WHERE ($2::date IS NULL OR (day, product, source) > ($2, $3, $4))
    AND ($5::date IS NULL OR day >= $5) AND ($6::date IS NULL OR day <= $6)
    AND ($7::text IS NULL OR product = $7) AND ($8::text IS NULL OR source = $8)
ORDER BY day, product, source LIMIT $1
"""
_TOTAL = """
SELECT coalesce(sum(accepted), 0)::bigint AS accepted, coalesce(sum(applied), 0)::bigint AS applied,
    coalesce(sum(duplicate), 0)::bigint AS duplicate, coalesce(sum(quarantined), 0)::bigint AS quarantined,
    coalesce(sum(lost), 0)::bigint AS lost
FROM usage_books
WHERE ($1::date IS NULL OR day >= $1) AND ($2::date IS NULL OR day <= $2)
    AND ($3::text IS NULL OR product = $3) AND ($4::text IS NULL OR source = $4)
"""


@dataclass(frozen=True, slots=True)
class LineFilter:
    """The lines to list, from the first to the last day inclusive.

    ``None``: no restriction.
    """

    first: date | None = None
    last: date | None = None
    product: str | None = None
    source: str | None = None


@dataclass(frozen=True, slots=True)
class Totals:
    """The sums of lines of the books."""

    accepted: int
    applied: int
    duplicate: int
    quarantined: int
    lost: int

    @property
    def balanced(self) -> bool:
        """Whether accepted = applied + duplicate + quarantined."""
        return self.accepted == self.applied + self.duplicate + self.quarantined


async def upsert_line(connection: Connection, line: BooksLine) -> None:
    """Upsert the line unless the stored one is as new or newer."""
    await connection.execute(
        _UPSERT,
        line.day,
        line.source,
        line.product,
        line.accepted,
        line.applied,
        line.duplicate,
        line.quarantined,
        line.lost,
        line.revision,
    )


async def list_lines(connection: Connection, limit: int, cursor: str | None, wanted: LineFilter) -> Page[BooksLine]:
    """List lines by day, product and source."""
    place: list[Any] = read_cursor(cursor, 3) or [None, None, None]
    if place[0] is not None:
        place[0] = read_day(place[0])
    rows = await connection.fetch(_LIST, limit + 1, *place, wanted.first, wanted.last, wanted.product, wanted.source)
    return page(
        rows,
        limit,
        lambda row: BooksLine(**dict(row)),
        lambda row: (row["day"].isoformat(), row["product"], row["source"]),
        "usage_books",
    )


async def total(connection: Connection, wanted: LineFilter) -> Totals:
    """Sum all lines that match, on all pages."""
    row = await connection.fetchrow(_TOTAL, wanted.first, wanted.last, wanted.product, wanted.source)
    assert row is not None  # noqa: S101  # sums without groups are one row
    return Totals(**dict(row))
