"""Partitions of tables: created ahead of need, dropped when they are old.

A partition contains one day (usage and midnights), one week (sightings and hours) or 28 days (days).
"""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date, timedelta

import asyncpg

from shared.runtime.postgres.pool import Connection

FIRST_MONDAY = date(1970, 1, 5)


@dataclass(frozen=True, slots=True)
class Partitioned:
    """A partitioned table: days per partition, and retention in days."""

    table: str
    days: int
    kept_days: int

    def first_day(self, day: date) -> date:
        """Return the first day of the partition that contains ``day``."""
        return day - timedelta(days=(day - FIRST_MONDAY).days % self.days)


USAGE = Partitioned("usage", 1, 60)
MIDNIGHTS = Partitioned("usage_midnight", 1, 60)
SIGHTINGS = Partitioned("sighting", 7, 75)
HOURS = Partitioned("usage_hour", 7, 45)
DAYS = Partitioned("usage_day", 28, 395)
MEASURED_DAYS = Partitioned("measured_days", 28, 395)
WRITTEN = (USAGE, MIDNIGHTS, SIGHTINGS, HOURS)
"""Tables that batches of usage write to."""
ALL = (*WRITTEN, DAYS, MEASURED_DAYS)


@dataclass(frozen=True, slots=True)
class Partition:
    """An existing partition. Not attached: left by an interrupted drop."""

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
"""Key of the advisory lock for dropping partitions and deleting old rows.

One process holds it at a time.
"""

Known = set[tuple[str, date]]


def missing(wanted: Iterable[tuple[Partitioned, date]], known: Known) -> list[tuple[Partitioned, date]]:
    """Return the partitions of ``wanted`` that are not in ``known``, in a fixed order."""
    keys = {(kind.table, kind.first_day(day)): kind for kind, day in wanted}
    return sorted(((kind, first) for (table, first), kind in keys.items() if (table, first) not in known), key=_order)


def _order(wanted: tuple[Partitioned, date]) -> tuple[str, date]:
    return wanted[0].table, wanted[1]


async def make_partitions(connection: Connection, wanted: Iterable[tuple[Partitioned, date]]) -> None:
    """Create partitions that do not exist.

    It is safe for several processes to do so concurrently.
    """
    for kind, first in wanted:
        await connection.execute(_MAKE, kind.table, first, kind.days)


async def load_partitions(connection: Connection) -> list[Partition]:
    """Load the existing partitions, including those left by an interrupted drop."""
    by_name = {kind.table: kind for kind in ALL}
    return [
        Partition(
            by_name[row["parent"]], date.fromisoformat(row["name"].rpartition("_")[2]), row["name"], row["is_attached"]
        )
        for row in await connection.fetch(_LOAD, list(by_name))
    ]


async def drop_partition(connection: Connection, partition: Partition) -> bool:
    """Drop a partition. Return whether it was dropped.

    A partition of hours is first added to days. No partition is dropped while a long transaction locks its table, since
    waiting would block writers; upkeep tries again. Must not run inside a transaction.
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
async def hold_drop_lock(connection: Connection) -> AsyncIterator[bool]:
    """Try to hold the lock for dropping partitions. Yield whether it was taken.

    A lock that was taken is released at the end of the block.
    """
    mine = bool(await connection.fetchval(_TRY_LOCK, LOCK))
    try:
        yield mine
    finally:
        if mine:
            await connection.execute(_UNLOCK, LOCK)


async def try_lock_deletion(connection: Connection) -> bool:
    """Try to take the lock for deleting old rows. Return whether it was taken.

    It is held until the transaction ends.
    """
    return bool(await connection.fetchval(_TRY_LOCK_IN_TRANSACTION, LOCK))
