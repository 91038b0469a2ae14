"""The books: what became of every record, per source, product, UTC day of arrival (and Kafka partition)."""

from collections import Counter
from collections.abc import Sequence
from datetime import date, datetime
from typing import Literal, NamedTuple

from shared.runtime.postgres import Connection


class Line(NamedTuple):
    """One line of the books."""

    day: date
    partition: int
    source: str
    product: str


Outcome = Literal["applied", "duplicate", "quarantined"]
Entries = Counter[tuple[Line, Outcome]]

_ADD = """
INSERT INTO book AS b (day, kafka_partition, source, product, accepted, applied, duplicate, quarantined)
SELECT * FROM unnest($1::date[], $2::integer[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[],
                     $8::bigint[])
ON CONFLICT (day, kafka_partition, source, product) DO UPDATE SET
    accepted = b.accepted + EXCLUDED.accepted, applied = b.applied + EXCLUDED.applied,
    duplicate = b.duplicate + EXCLUDED.duplicate, quarantined = b.quarantined + EXCLUDED.quarantined,
    revision = b.revision + 1, untold = true
"""
_RECONCILE = """
SELECT day, source, product, sum(accepted)::bigint AS accepted, sum(applied)::bigint AS applied,
       sum(duplicate)::bigint AS duplicate, sum(quarantined)::bigint AS quarantined
FROM book WHERE day BETWEEN $1 AND $2 GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
"""
_STORE_POSITIONS = """
INSERT INTO usage_position AS p (topic, kafka_partition, appended_at)
SELECT $1, unnest($2::integer[]), unnest($3::timestamptz[])
ON CONFLICT (topic, kafka_partition) DO UPDATE SET appended_at = greatest(p.appended_at, EXCLUDED.appended_at)
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


async def add_entries(connection: Connection, entries: Entries, *, accepted: bool = True) -> None:
    """Book outcomes. ``accepted`` false: nothing new was accepted, the outcomes move (their sum must be zero)."""
    outcomes: tuple[Outcome, ...] = ("applied", "duplicate", "quarantined")
    lines = sorted({line for line, _ in entries})
    counts = [[entries[line, outcome] for line in lines] for outcome in outcomes]
    totals = [sum(column) if accepted else 0 for column in zip(*counts, strict=True)]
    if lines:
        await connection.execute(_ADD, *map(list, zip(*lines, strict=True)), totals, *counts)


async def reconcile(connection: Connection, first: date, last: date) -> list[Balance]:
    """The books of some days."""
    return [Balance(*row) for row in await connection.fetch(_RECONCILE, first, last)]


async def store_positions(connection: Connection, topic: str, positions: Sequence[tuple[int, datetime]]) -> None:
    """Note up to which append time each partition is applied."""
    await connection.execute(_STORE_POSITIONS, topic, [p for p, _ in positions], [at for _, at in positions])
