"""Partitions by day (usage), week (sightings, hours) or month (days): made ahead or on demand, dropped when old."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date, timedelta

import asyncpg

from shared.runtime.postgres.pool import Connection

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
DAYS = Partitioned("usage_day", 28, 395)
WRITTEN = (USAGE, MIDNIGHTS, SIGHTINGS, HOURS)
"""Those that usage is written to as it comes."""
ALL = (*WRITTEN, DAYS)


@dataclass(frozen=True, slots=True)
class Partition:
    """One that exists. Not attached: left by a drop that was interrupted."""

    kind: Partitioned
    first: date
    name: str
    is_attached: bool


_MAKE = "SELECT make_partition($1, $2, $3)"
_LOAD = r"""
SELECT parent, child.relname AS name, child.relispartition AS is_attached
FROM unnest($1::text[]) AS parent
JOIN pg_class child ON child.relname ~ ('^' || parent || '_\d{8}$') AND child.relkind = 'r'
WHERE child.relnamespace = 'public'::regnamespace
ORDER BY 1, 2
"""
_DETACH = "SELECT detach_partition($1, $2)"
_DROP = "SELECT drop_partition($1, $2)"
_MOVE_HOURS = "SELECT move_hours($1)"
_TRY_LOCK = "SELECT pg_try_advisory_lock($1)"
_TRY_LOCK_IN_TRANSACTION = "SELECT pg_try_advisory_xact_lock($1)"
_UNLOCK = "SELECT pg_advisory_unlock($1)"
LOCK = 0x756E6974_75706B70
"""Key of the advisory lock of the process that drops what is old."""

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


async def load_partitions(connection: Connection) -> list[Partition]:
    """The partitions that exist, and what an interrupted drop has left."""
    by_name = {kind.table: kind for kind in ALL}
    return [
        Partition(
            by_name[row["parent"]], date.fromisoformat(row["name"].rpartition("_")[2]), row["name"], row["is_attached"]
        )
        for row in await connection.fetch(_LOAD, list(by_name))
    ]


async def drop_partition(connection: Connection, partition: Partition) -> bool:
    """Drop one; whether it is gone. What hours held becomes days. Must not run inside a transaction.

    It is not when long transactions write to its table: nobody is kept waiting for it, and the next upkeep tries again.
    """
    place = partition.kind.table, partition.first
    try:
        await connection.execute(_DETACH, *place)
    except asyncpg.LockNotAvailableError:
        return False
    if partition.kind is HOURS:
        await make_partitions(connection, [(DAYS, DAYS.first_day(partition.first))])
        await connection.execute(_MOVE_HOURS, partition.first)
    else:
        await connection.execute(_DROP, *place)
    return True


@asynccontextmanager
async def dropping(connection: Connection) -> AsyncIterator[bool]:
    """Whether this process may drop partitions now: one at a time does."""
    mine = bool(await connection.fetchval(_TRY_LOCK, LOCK))
    try:
        yield mine
    finally:
        if mine:
            await connection.execute(_UNLOCK, LOCK)


async def may_delete(connection: Connection) -> bool:
    """Whether this process may delete what is old until its transaction ends: one at a time does."""
    return bool(await connection.fetchval(_TRY_LOCK_IN_TRANSACTION, LOCK))
