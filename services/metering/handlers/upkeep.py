"""Upkeep of the partitions: made ahead of need, dropped when they are old."""

from collections.abc import Iterator
from datetime import date, datetime, timedelta

from services.metering import metrics
from services.metering.domain.catalogue import Catalogue
from services.metering.store import partitions
from services.metering.store.partitions import Known, Partition, Partitioned
from shared.runtime.postgres import Connection

LATE_DAYS = 36
AHEAD_DAYS = 3
SLACK_DAYS = 10


def ahead(today: date, days: int) -> Iterator[tuple[Partitioned, date]]:
    """The partitions that usage of today and of the next days needs; late usage makes its own where it must."""
    for number in range(-1, days + 1):
        for kind in partitions.ALL:
            yield kind, today + timedelta(days=number)


def is_old(kind: Partitioned, first: date, today: date, longest_window_days: int) -> bool:
    """Whether nothing in the partition can be needed any more."""
    kept_days = kind.kept_days
    if kind is partitions.SIGHTINGS:
        kept_days = max(kept_days, LATE_DAYS + longest_window_days + SLACK_DAYS)
    return first + timedelta(days=kind.days + kept_days) < today


async def keep_up(
    connection: Connection, catalogue: Catalogue, now: datetime, *, ahead_days: int = AHEAD_DAYS
) -> Known:
    """Make what is missing, drop what is old; the partitions that there are. Must not run inside a transaction."""
    there = await partitions.load_partitions(connection)
    known = {(one.kind.table, one.first) for one in there if one.is_attached}
    missing = partitions.missing(ahead(now.date(), ahead_days), known)
    for wanted in missing:
        await partitions.make_partitions(connection, [wanted])
    longest = max((one.state.window_days for one in catalogue.subscriptions.values()), default=0)

    def is_to_go(one: Partition) -> bool:
        return not one.is_attached or is_old(one.kind, one.first, now.date(), longest)

    async with partitions.dropping(connection) as mine:
        # Looked up again: another process may have dropped some before this one's turn.
        for one in filter(is_to_go, await partitions.load_partitions(connection)) if mine else ():
            if not await partitions.drop_partition(connection, one):
                break
    known |= {(kind.table, first) for kind, first in missing}
    known -= {(one.kind.table, one.first) for one in filter(is_to_go, there)}
    for kind in partitions.ALL:
        metrics.PARTITIONS.labels(table=kind.table).set(sum(table == kind.table for table, _ in known))
    return known
