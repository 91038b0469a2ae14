"""Upkeep: partitions made ahead of need and dropped when they are old, windows and corrections forgotten in time."""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import date, datetime, timedelta
from functools import partial

from services.metering import metrics
from services.metering.domain.catalogue import Catalogue
from services.metering.handlers.isolated_work import do_each
from services.metering.store import consumption, corrections, partitions, quarantine, restatements
from services.metering.store.consumption import WINDOWS_KEPT
from services.metering.store.partitions import Known, Partition, Partitioned
from shared.runtime.delivery.set_aside_work import SetAside
from shared.runtime.delivery.transaction import Transaction
from shared.runtime.postgres.pool import Connection

WORK = "upkeep"
LATE_DAYS = 36
AHEAD_DAYS = 3
SLACK_DAYS = 10
SUBSCRIPTIONS_AT_ONCE = 500


def ahead(today: date, days: int) -> Iterator[tuple[Partitioned, date]]:
    """The partitions that usage of today and of the next days needs; late usage makes its own where it must."""
    for number in range(-1, days + 1):
        for kind in partitions.WRITTEN:
            yield kind, today + timedelta(days=number)


def sightings_kept_days(longest_window_days: int) -> int:
    """For how many days the resources of windows are kept: a late correction is worked out from the whole window."""
    return max(partitions.SIGHTINGS.kept_days, LATE_DAYS + longest_window_days + SLACK_DAYS)


def is_old(kind: Partitioned, first: date, today: date, longest_window_days: int) -> bool:
    """Whether nothing in the partition can be needed any more."""
    kept_days = kind.kept_days
    if kind in (partitions.USAGE, partitions.SIGHTINGS):  # a late correction is worked out from the whole window
        kept_days = max(kept_days, LATE_DAYS + longest_window_days + SLACK_DAYS)
    return first + timedelta(days=kind.days + kept_days) < today


async def keep_up(
    connection: Connection, catalogue: Catalogue, now: datetime, *, ahead_days: int = AHEAD_DAYS
) -> Known:
    """Make what is missing, drop what is old; the partitions that there are. Must not run inside a transaction.

    Hours that are due after theirs have become days get a partition again, which becomes days the next time.
    """
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
    left = [one for one in await partitions.load_partitions(connection) if not is_to_go(one)]
    known = {(one.kind.table, one.first) for one in left}
    for kind in partitions.ALL:
        metrics.PARTITIONS.labels(table=kind.table).set(sum(table == kind.table for table, _ in known))
    metrics.UPKEEP_AT.set(now.timestamp())
    return known


async def forget_windows(
    transaction: Callable[[], AbstractAsyncContextManager[Transaction]],
    catalogue: Catalogue,
    numbers: Sequence[int],
) -> list[int]:
    """Delete the windows of some subscriptions that are too old to be shown or needed; of which it could not be done.

    Windows of a meter that adds up over the term stay as long as a window that is shown counts them.
    """
    term_meters = [meter.number for meter in catalogue.meters.values() if meter.is_term]
    left: list[int] = []
    for first in range(0, len(numbers), SUBSCRIPTIONS_AT_ONCE):
        some = numbers[first : first + SUBSCRIPTIONS_AT_ONCE]
        async with transaction() as tx:
            if not await partitions.may_delete(tx.connection):
                left += some
                continue
            left += await do_each(
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


async def forget(tx: Transaction, catalogue: Catalogue) -> None:
    """Delete what is too old to be shown or needed: restatements, corrections, what left the quarantine."""
    longest = max((view.state.window_days for view in catalogue.by_number.values()), default=0)
    kept_days = max(partitions.USAGE.kept_days, LATE_DAYS + longest + SLACK_DAYS)
    before = tx.now - timedelta(days=kept_days)
    _count_deleted(
        tx,
        restatement=await restatements.delete_old(tx.connection, tx.now - WINDOWS_KEPT),
        correction=await corrections.delete_old(tx.connection, before),
        quarantine=await quarantine.forget_settled(tx.connection, before),
    )


def _count_deleted(tx: Transaction, **deleted: int) -> None:
    """Count rows by table, once they are gone."""
    for table, rows in deleted.items():
        tx.after_commit(partial(metrics.FORGOTTEN.labels(table=table).inc, rows))
