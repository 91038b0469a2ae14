"""Upkeep of the partitions: made ahead of need, dropped when they are old."""

from collections.abc import Iterator
from datetime import date, datetime, timedelta

from services.metering import metrics
from services.metering.domain.catalogue import Catalogue
from services.metering.store import partitions
from services.metering.store.partitions import Known, Partitioned
from shared.runtime.postgres import Connection

BACK_DAYS = 36
AHEAD_DAYS = 3
SLACK_DAYS = 10


def wanted(today: date) -> Iterator[tuple[Partitioned, date]]:
    """The partitions that usage may need today or in the next days."""
    for number in range(-BACK_DAYS, AHEAD_DAYS + 1):
        for kind in partitions.ALL:
            yield kind, today + timedelta(days=number)
    for number in range(-BACK_DAYS - 15, -BACK_DAYS):
        yield partitions.SIGHTINGS, today + timedelta(days=number)


def is_old(kind: Partitioned, first: date, today: date, longest_window_days: int) -> bool:
    """Whether nothing in the partition can be needed any more."""
    kept_days = kind.kept_days
    if kind is partitions.SIGHTINGS:
        kept_days = max(kept_days, BACK_DAYS + longest_window_days + SLACK_DAYS)
    return first + timedelta(days=kind.days + kept_days) < today


async def keep_up(connection: Connection, catalogue: Catalogue, now: datetime) -> Known:
    """Make what is missing, drop what is old; the partitions that there are. Must not run inside a transaction."""
    there = await partitions.load_partitions(connection)
    known = {(kind.table, first) for kind, first, _ in there}
    missing = partitions.missing(wanted(now.date()), known)
    for one in missing:
        await partitions.make_partitions(connection, [one])
    longest = max((one.state.window_days for one in catalogue.subscriptions.values()), default=0)
    old = [one for one in there if is_old(one[0], one[1], now.date(), longest)]
    for kind, _, name in old:
        await partitions.drop_partition(connection, kind, name)
    known |= {(kind.table, first) for kind, first in missing}
    known -= {(kind.table, first) for kind, first, _ in old}
    for kind in partitions.ALL:
        metrics.PARTITIONS.labels(table=kind.table).set(sum(table == kind.table for table, _ in known))
    return known
