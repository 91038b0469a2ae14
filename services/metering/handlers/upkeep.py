"""Upkeep of the tables.

Partitions are created ahead of need and dropped when old; rows are deleted after their retention time.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import date, datetime, timedelta
from functools import partial

from services.metering import metrics
from services.metering.domain.catalogue import Catalogue
from services.metering.handlers.isolated_work import run_isolated
from services.metering.store import consumption, corrections, partitions, quarantine, restatements
from services.metering.store.consumption import WINDOWS_KEPT
from services.metering.store.partitions import Known, Partition, Partitioned
from shared.runtime.delivery.set_aside_work import SetAside
from shared.runtime.delivery.transaction import Transaction
from shared.runtime.postgres.pool import Connection

WORK = "upkeep"
LATE_DAYS = 36
"""Age up to which usage may arrive, in days, and one day more."""
AHEAD_DAYS = 3
"""Days for which partitions are created in advance."""
SLACK_DAYS = 10
"""Days of retention beyond those that late corrections need."""
SUBSCRIPTIONS_AT_ONCE = 500
"""Subscriptions whose windows are deleted in one transaction."""


def ahead(today: date, days: int) -> Iterator[tuple[Partitioned, date]]:
    """Yield the partitions for usage of yesterday, today and the next days.

    ``days``: number of the next days. Late usage creates its own partitions.
    """
    for number in range(-1, days + 1):
        for kind in partitions.WRITTEN:
            yield kind, today + timedelta(days=number)


def sightings_kept_days(longest_window_days: int) -> int:
    """Return the retention of resources, in days.

    A late correction is computed from the whole window.
    """
    return max(partitions.SIGHTINGS.kept_days, LATE_DAYS + longest_window_days + SLACK_DAYS)


def is_old(kind: Partitioned, first: date, today: date, longest_window_days: int) -> bool:
    """Whether the partition is past its retention time."""
    kept_days = kind.kept_days
    if kind in (partitions.USAGE, partitions.SIGHTINGS):  # a late correction is computed from the whole window
        kept_days = max(kept_days, LATE_DAYS + longest_window_days + SLACK_DAYS)
    return first + timedelta(days=kind.days + kept_days) < today


async def maintain_partitions(
    connection: Connection, catalogue: Catalogue, now: datetime, *, ahead_days: int = AHEAD_DAYS
) -> Known:
    """Create missing partitions and drop old ones. Return those that exist.

    Must not run inside a transaction. Hours that are added after their partition was turned into days get a new
    partition, turned into days next time.
    """
    there = await partitions.load_partitions(connection)
    known = {(one.kind.table, one.first) for one in there if one.is_attached}
    missing = partitions.missing(ahead(now.date(), ahead_days), known)
    for wanted in missing:
        await partitions.make_partitions(connection, [wanted])
    longest = max((one.state.window_days for one in catalogue.subscriptions.values()), default=0)

    def is_droppable(one: Partition) -> bool:
        return not one.is_attached or is_old(one.kind, one.first, now.date(), longest)

    async with partitions.hold_drop_lock(connection) as mine:
        # Loaded again under the lock: another process may have dropped some.
        for one in filter(is_droppable, await partitions.load_partitions(connection)) if mine else ():
            if not await partitions.drop_partition(connection, one):
                break
    left = [one for one in await partitions.load_partitions(connection) if not is_droppable(one)]
    known = {(one.kind.table, one.first) for one in left}
    for kind in partitions.ALL:
        metrics.PARTITIONS.labels(table=kind.table).set(sum(table == kind.table for table, _ in known))
    metrics.UPKEEP_AT.set(now.timestamp())
    return known


async def delete_old_windows(
    transaction: Callable[[], AbstractAsyncContextManager[Transaction]],
    catalogue: Catalogue,
    numbers: Sequence[int],
) -> list[int]:
    """Delete windows past their retention time.

    Return the numbers of subscriptions for which that was not done. Windows of a meter that adds up over the term stay
    while a retained window counts them.
    """
    term_meters = [meter.number for meter in catalogue.meters.values() if meter.is_term]
    left: list[int] = []
    for first in range(0, len(numbers), SUBSCRIPTIONS_AT_ONCE):
        some = numbers[first : first + SUBSCRIPTIONS_AT_ONCE]
        async with transaction() as tx:
            if not await partitions.try_lock_deletion(tx.connection):
                left += some
                continue
            left += await run_isolated(
                tx,
                SetAside(WORK),
                some,
                lambda some, tx=tx: _delete_windows(tx, catalogue, some, term_meters),  # type: ignore[misc]
                key=str,
                whose=catalogue.name_of,
            )
    return left


async def _delete_windows(
    tx: Transaction, catalogue: Catalogue, numbers: Collection[int], term_meters: Sequence[int]
) -> None:
    oldest = tx.now - WINDOWS_KEPT
    needed = [(number, min(oldest, catalogue.by_number[number].state.term_at(oldest).start)) for number in numbers]
    deleted = await consumption.delete_windows(tx.connection, needed, term_meters, oldest)
    _count_deleted(tx, meter_window=deleted)


async def delete_old(tx: Transaction, catalogue: Catalogue) -> None:
    """Delete restatements, corrections and quarantine rows past their retention.

    Only settled rows of the quarantine are deleted.
    """
    longest = max((view.state.window_days for view in catalogue.by_number.values()), default=0)
    kept_days = max(partitions.USAGE.kept_days, LATE_DAYS + longest + SLACK_DAYS)
    before = tx.now - timedelta(days=kept_days)
    _count_deleted(
        tx,
        restatement=await restatements.delete_old(tx.connection, tx.now - WINDOWS_KEPT),
        correction=await corrections.delete_old(tx.connection, before),
        quarantine=await quarantine.delete_settled(tx.connection, before),
    )


def _count_deleted(tx: Transaction, **deleted: int) -> None:
    """Count deleted rows by table, after the commit."""
    for table, rows in deleted.items():
        tx.after_commit(partial(metrics.DELETED.labels(table=table).inc, rows))
