"""The books: outcomes of all records per day of arrival, origin and product.

There is one line per UTC day of arrival, Kafka partition, source and product. Records lost before they were read are
counted separately, on the day on which the loss was noticed.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import date, datetime
from typing import Literal, NamedTuple

from shared.runtime.postgres.pool import Connection


class Line(NamedTuple):
    """One line of the books."""

    day: date
    partition: int
    source: str
    product: str


Outcome = Literal["applied", "duplicate", "quarantined"]
Entries = Counter[tuple[Line, Outcome]]

# Adds entries, and raises the append time up to which each partition is applied (none where entries only move).
_BOOK = """
WITH booked AS (
    INSERT INTO book AS b (day, kafka_partition, source, product, accepted, applied, duplicate, quarantined)
    SELECT * FROM unnest($1::date[], $2::integer[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[],
                         $8::bigint[])
    ON CONFLICT (day, kafka_partition, source, product) DO UPDATE SET
        accepted = b.accepted + EXCLUDED.accepted, applied = b.applied + EXCLUDED.applied,
        duplicate = b.duplicate + EXCLUDED.duplicate, quarantined = b.quarantined + EXCLUDED.quarantined,
        revision = b.revision + 1, untold = true
)
INSERT INTO usage_position AS p (topic, kafka_partition, appended_at)
SELECT $9, unnest($10::integer[]), unnest($11::timestamptz[])
ON CONFLICT (topic, kafka_partition) DO UPDATE SET appended_at = greatest(p.appended_at, EXCLUDED.appended_at)
"""
_LOSE = """
INSERT INTO book AS b (day, kafka_partition, source, product, lost) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (day, kafka_partition, source, product) DO UPDATE SET
    lost = b.lost + EXCLUDED.lost, revision = b.revision + 1, untold = true
"""
_RECONCILE = """
SELECT day, source, product, sum(accepted)::bigint AS accepted, sum(applied)::bigint AS applied,
       sum(duplicate)::bigint AS duplicate, sum(quarantined)::bigint AS quarantined, sum(lost)::bigint AS lost
FROM book WHERE day BETWEEN $1 AND $2 GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
"""


class Balance(NamedTuple):
    """One line of a reconciliation."""

    day: date
    source: str
    product: str
    accepted: int
    applied: int
    duplicate: int
    quarantined: int
    lost: int


async def book(connection: Connection, entries: Entries, topic: str, positions: Sequence[tuple[int, datetime]]) -> None:
    """Add newly accepted records to the books.

    ``positions`` are (partition, append time) pairs: each partition is applied up to that time, which is saved unless a
    later one is known.
    """
    columns = _columns(entries, accepted=True)
    await connection.execute(_BOOK, *columns, topic, [p for p, _ in positions], [at for _, at in positions])


async def move_entries(connection: Connection, entries: Entries) -> None:
    """Book changed outcomes of records accepted before. The entries must sum to zero."""
    if entries:
        await connection.execute(_BOOK, *_columns(entries, accepted=False), "", [], [])


async def book_lost(connection: Connection, line: Line, records: int) -> None:
    """Book records that will never be read; they do not count as accepted."""
    await connection.execute(_LOSE, *line, records)


def _columns(entries: Entries, *, accepted: bool) -> list[Sequence[object]]:
    outcomes: tuple[Outcome, ...] = ("applied", "duplicate", "quarantined")
    lines = sorted({line for line, _ in entries})
    counts = [[entries[line, outcome] for line in lines] for outcome in outcomes]
    totals = [sum(column) if accepted else 0 for column in zip(*counts, strict=True)]
    keys = [[line[place] for line in lines] for place in range(len(Line._fields))]
    return [*keys, totals, *counts]


async def reconcile(connection: Connection, first: date, last: date) -> list[Balance]:
    """Load the books of the days from ``first`` to ``last``, summed over partitions."""
    return [Balance(*row) for row in await connection.fetch(_RECONCILE, first, last)]
