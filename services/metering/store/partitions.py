"""Partitions by day (usage) or week (sightings, hours): made ahead or on demand, dropped when they are old."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta

from shared.runtime.postgres import Connection

FIRST_MONDAY = date(1970, 1, 5)


@dataclass(frozen=True, slots=True)
class Partitioned:
    """A partitioned table: how many days a partition holds, and for how many days it is kept."""

    table: str
    days: int
    kept_days: int

    def first_day(self, day: date) -> date:
        """The first day of the partition that holds ``day``."""
        return day - timedelta(days=(day - FIRST_MONDAY).days % self.days)


USAGE = Partitioned("usage", 1, 60)
MIDNIGHTS = Partitioned("usage_midnight", 1, 60)
SIGHTINGS = Partitioned("sighting", 7, 75)
HOURS = Partitioned("usage_hour", 7, 45)
ALL = (USAGE, MIDNIGHTS, SIGHTINGS, HOURS)

_MAKE = "SELECT make_partition($1, $2, $3)"
_LOAD = """
SELECT parent.relname AS parent, child.relname AS child
FROM pg_inherits
JOIN pg_class parent ON parent.oid = inhparent
JOIN pg_class child ON child.oid = inhrelid
WHERE parent.relname = ANY ($1) AND parent.relkind = 'p' AND parent.relnamespace = 'public'::regnamespace
ORDER BY 1, 2
"""

Known = set[tuple[str, date]]


def missing(wanted: Iterable[tuple[Partitioned, date]], known: Known) -> list[tuple[Partitioned, date]]:
    """The partitions among ``wanted`` that are not known to exist, in a fixed order."""
    keys = {(kind.table, kind.first_day(day)): kind for kind, day in wanted}
    return sorted(((kind, first) for (table, first), kind in keys.items() if (table, first) not in known), key=_order)


def _order(wanted: tuple[Partitioned, date]) -> tuple[str, date]:
    return wanted[0].table, wanted[1]


async def make_partitions(connection: Connection, wanted: Iterable[tuple[Partitioned, date]]) -> None:
    """Make each where it is missing; safe when several processes do it at once."""
    for kind, first in wanted:
        await connection.execute(_MAKE, kind.table, first, kind.days)


async def load_partitions(connection: Connection) -> list[tuple[Partitioned, date, str]]:
    """The partitions that exist: their kind, first day and name."""
    by_name = {kind.table: kind for kind in ALL}
    rows = await connection.fetch(_LOAD, list(by_name))
    return [(by_name[row["parent"]], date.fromisoformat(row["child"].rpartition("_")[2]), row["child"]) for row in rows]


async def drop_partition(connection: Connection, kind: Partitioned, name: str) -> None:
    """Drop one without a lock that those who write would wait for. Must not run inside a transaction."""
    await connection.execute(f'ALTER TABLE "{kind.table}" DETACH PARTITION "{name}" CONCURRENTLY')
    await connection.execute(f'DROP TABLE "{name}"')
