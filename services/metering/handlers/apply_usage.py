"""Apply usage: judge, de-duplicate, add up and book a batch in one transaction."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

import msgspec

from services.metering.domain.catalogue import DAY_US, EPOCH, UNIQUE, Catalogue, microseconds
from services.metering.domain.corrections import REVERSAL
from services.metering.domain.decode import claim_of
from services.metering.domain.judgement import (
    IdentityTimes,
    Judgement,
    Placed,
    day_of,
    empty_judgement,
    instant,
    judge,
    judge_records,
    split_repeats,
)
from services.metering.domain.placement import Usage
from services.metering.domain.quantity import exact
from services.metering.domain.reasons import RejectedError
from services.metering.handlers.reversal_targets import find_faults
from services.metering.store import books, corrections, moves, partitions, quarantine, restatements
from services.metering.store import usage as store
from services.metering.store.books import Entries, Line, Outcome
from services.metering.store.moves import Misplaced
from services.metering.store.partitions import Partitioned
from services.metering.store.projection import Projection, ensure_sources
from services.metering.store.usage_batch import UsageBatch
from shared.runtime.delivery.transaction import Transaction
from shared.runtime.postgres.pool import Connection
from shared.runtime.records import Record
from shared.windows import PROVISIONAL_FOR

FIRST_DAY = date(1970, 1, 1)
JUDGED_AT_ONCE = 250
"""Records judged before other tasks of the process get a turn.

Another task is, for example, a batch whose database answer has arrived.
"""
PROVISIONAL_US = microseconds(EPOCH + PROVISIONAL_FOR)

CatchUp = Callable[[Connection], Awaitable[None]]
"""A function that waits until the projection is up to date.

It must then contain what allocation.events has now. The wait has a limit.
"""


async def _no_wait(_: Connection) -> None:
    pass


@dataclass(slots=True)
class BatchOutcome:
    """The outcome of each record of a batch.

    ``rejected`` gives the error of each rejected record by its index.
    """

    outcomes: list[Outcome]
    rejected: dict[int, RejectedError]
    catalogue_version: int
    """Version of the catalogue by which the batch was judged.

    The process may have a newer one.
    """


@dataclass(frozen=True, slots=True)
class UsageApplier:
    """Apply batches of usage, each in a transaction of the caller.

    Its caches (the catalogue and the existing partitions) hold only committed state: a batch adds to them after its
    commit.
    """

    projection: Projection = field(default_factory=Projection)
    catch_up: CatchUp = _no_wait
    known_partitions: partitions.Known = field(default_factory=set)

    async def apply(self, tx: Transaction, records: Sequence[Record]) -> BatchOutcome:
        """Apply records that arrive for the first time.

        Their effects, the rejected records, the books and the positions are written in the caller's transaction.
        """
        judged = await self._judge(tx.connection, records)
        applied = await self._deduplicate(tx, judged, records)
        if applied.rejected:
            await quarantine.insert_rejected(
                tx.connection,
                [(records[n], error) for n, error in sorted(applied.rejected.items())],
                tx.now,
                applied.catalogue_version,
            )
        await books.book(tx.connection, _entries(records, judged, applied), records[0].topic, _positions(records))
        return applied

    async def reapply(self, tx: Transaction, records: Sequence[Record]) -> BatchOutcome:
        """Apply quarantined records, which were accepted and booked before.

        The caller updates quarantine and books.
        """
        judged = judge(records, await self.projection.refresh(tx.connection))
        _reject_expired(judged, records, tx.now)
        await _reject_wrong_reversals(tx.connection, judged, records)
        return await self._deduplicate(tx, judged, records)

    async def _judge(self, connection: Connection, records: Sequence[Record]) -> Judgement:
        """Judge all records by the present catalogue.

        If some are rejected for a transient reason, those are judged again by a newer catalogue where there is one, and
        with them those rejected as ``after_end``.
        """
        judged = empty_judgement(await self.projection.refresh(connection))
        for first in range(0, len(records), JUDGED_AT_ONCE):
            if first:
                await asyncio.sleep(0)
            numbers = range(first, min(first + JUDGED_AT_ONCE, len(records)))
            judge_records(records, numbers, judged)
        if waiting := judged.transient():
            await self.catch_up(connection)
            newer = await self.projection.refresh(connection)
            if newer.version != judged.catalogue.version:
                judged.catalogue = newer
                judge_records(records, waiting + judged.after_end(), judged)
                judged.placed.sort(key=lambda placed: placed.n)
        return judged

    async def _deduplicate(self, tx: Transaction, judged: Judgement, records: Sequence[Record]) -> BatchOutcome:
        """De-duplicate placed usage and add it up.

        The result is that of applying one record after the other. Possible repeats within the batch wait until the
        earlier record is applied or not: each round inserts the records that repeat none before them.
        """
        outcomes: list[Outcome] = ["applied"] * len(records)
        rejected = dict(judged.rejected)
        left: Sequence[Placed] = await self._prepare(tx, judged.placed) if judged.placed else ()
        while left:
            first, later, shared = split_repeats(left)
            batch = await UsageBatch.insert(tx.connection, first)
            there, left = batch.repeated, ()
            if there or later:
                known = [placed for placed in first if placed.n in there] if there else []
                stored = await _find_stored(tx.connection, known + later)
                taken = {digest: _times_of(items, there, stored) for digest, items in shared.items()}
                left = [one for one in later if not taken[one.usage.digest].contains(one.usage)]
                repeats = known + [one for one in later if taken[one.usage.digest].contains(one.usage)]
                for one in repeats:
                    if _is_stored(one.usage, stored):
                        outcomes[one.n] = "duplicate"
                    else:
                        rejected[one.n] = _conflict(one.usage, records[one.n])
            if len(there) < len(first):
                fresh = [placed for placed in first if placed.n not in there] if there else first
                await self._add_up(tx, batch, fresh, records, judged)
        for n in rejected:
            outcomes[n] = "quarantined"
        return BatchOutcome(outcomes, rejected, judged.catalogue.version)

    async def _add_up(
        self, tx: Transaction, batch: UsageBatch, fresh: Sequence[Placed], records: Sequence[Record], judged: Judgement
    ) -> None:
        """Add up new usage, and record corrections.

        Previous figures of final windows that change are saved. If a newer projection was committed meanwhile, usage
        that it places elsewhere is noted, to be moved later.
        """
        catalogue = judged.catalogue
        if corrected := [placed for placed in fresh if placed.usage.correction]:
            numbers: dict[tuple[str, str], int] = {
                (meter.product, meter.state.meter): meter.number for meter in catalogue.meters.values()
            }
            recorded = [(placed.usage, records[placed.n]) for placed in corrected]
            await corrections.insert_corrections(tx.connection, recorded, numbers, tx.now)
        if await batch.meet_corrections() != judged.first_version:
            newest = await self.projection.refresh(tx.connection)
            await moves.insert_misplaced(tx.connection, find_misplaced(fresh, newest), tx.now)
        await restatements.insert_previous_figures(
            tx.connection, _final_windows(fresh, catalogue, tx.now), "late_usage", tx.now
        )
        await batch.add_up()

    async def _prepare(self, tx: Transaction, placed: Sequence[Placed]) -> Sequence[Placed]:
        """Create missing partitions, and number new sources.

        Return the placed usage with the numbers of its sources.
        """
        if new := {item.usage.source for item in placed if not item.usage.source_number}:
            numbers = await ensure_sources(tx.connection, sorted(new))
            tx.after_commit(lambda: self.projection.add_sources(numbers))
            placed = [_numbered(item, numbers) for item in placed]
        if missing := partitions.missing(_wanted(placed), self.known_partitions):
            await partitions.make_partitions(tx.connection, missing)
            tx.after_commit(lambda: self.known_partitions.update((kind.table, first) for kind, first in missing))
        return placed


def _numbered(item: Placed, numbers: Mapping[str, int]) -> Placed:
    usage = item.usage
    if usage.source_number:
        return item
    return item._replace(usage=msgspec.structs.replace(usage, source_number=numbers[usage.source]))


async def _reject_wrong_reversals(connection: Connection, judged: Judgement, records: Sequence[Record]) -> None:
    """Reject reversals whose target they may not reverse.

    If they were recorded, they would be quarantined as new records.
    """
    faults = await find_faults(connection, judged.placed, judged.catalogue)
    for n, (reason, detail) in faults.items():
        judged.rejected[n] = RejectedError(reason, detail, claim_of(records[n].value))
    judged.placed = [item for item in judged.placed if item.n not in faults]


def find_misplaced(placed: Sequence[Placed], catalogue: Catalogue) -> list[Misplaced]:
    """Find the subscriptions of which a catalogue places some usage elsewhere."""
    since: dict[int, int] = {}
    windows: set[int] = set()
    for _, usage, _, _, _ in placed:
        view = catalogue.by_number[usage.subscription]
        is_out = usage.kind != REVERSAL and view.spans.reason_at(usage.product, usage.at_us) is not None
        is_in_another = view.window_of(usage.at_us) != usage.window_us
        if is_in_another:
            windows.add(usage.subscription)
        if is_out or is_in_another:
            first_us = min(usage.at_us, usage.window_us)
            since[usage.subscription] = min(first_us, since.get(usage.subscription, first_us))
    return [Misplaced(number, instant(at_us), number in windows) for number, at_us in sorted(since.items())]


def _wanted(placed: Sequence[Placed]) -> Iterator[tuple[Partitioned, date]]:
    """The partitions needed for these events, their midnights, windows and hours."""
    for number in {item.usage.at_us // DAY_US for item in placed}:
        day = FIRST_DAY + timedelta(days=number)
        yield partitions.USAGE, day
        yield partitions.HOURS, day
        yield partitions.MIDNIGHTS, day
        yield partitions.MIDNIGHTS, day + timedelta(days=1)
    for number in {item.usage.window_us // DAY_US for item in placed if item.usage.kind == UNIQUE}:
        yield partitions.SIGHTINGS, FIRST_DAY + timedelta(days=number)


def _reject_expired(judged: Judgement, records: Sequence[Record], now: datetime) -> None:
    """Reject usage that is older than the retention of raw usage.

    A repeat of it could not be detected.
    """
    oldest_us = microseconds(now - timedelta(days=partitions.USAGE.kept_days))
    recent = []
    for item in judged.placed:
        if item.usage.at_us >= oldest_us:
            recent.append(item)
        else:
            detail = f"older than the {partitions.USAGE.kept_days} days in which a repeat would be noticed"
            judged.rejected[item.n] = RejectedError("too_old", detail, claim_of(records[item.n].value))
    judged.placed = recent


def _final_windows(fresh: Sequence[Placed], catalogue: Catalogue, now: datetime) -> set[restatements.Key]:
    """The windows of new usage that are already final."""
    latest_us = microseconds(now) - PROVISIONAL_US
    return {
        (usage.subscription, usage.meter, instant(usage.window_us))
        for _, usage, _, _, _ in fresh
        if usage.at_us < latest_us and not usage.correction and _is_final(usage, catalogue, now)
    }


def _is_final(usage: Usage, catalogue: Catalogue, now: datetime) -> bool:
    calendar = catalogue.by_number[usage.subscription].state.calendar
    return not calendar.window_at(instant(usage.window_us)).is_provisional(now)


Found = dict[bytes, list[store.Stored]]


async def _find_stored(connection: Connection, repeats: Sequence[Placed]) -> Found:
    """Find stored events on the days of possible repeats, by digest.

    Each is read once.
    """
    wanted = dict.fromkeys((placed.usage.digest, day_of(placed.usage.at_us)) for placed in repeats)
    return await store.find_stored(connection, list(wanted))


def _times_of(items: Sequence[Placed], there: set[int], stored: Found) -> IdentityTimes:
    """Return when an identity is used after ``items`` were inserted.

    ``items`` are the records with this identity; ``there`` contains the indexes of those that were stored before.
    """
    times = IdentityTimes()
    for n, usage, _, _, _ in items:
        if n not in there:
            times.add(usage)
            continue
        days = {microseconds(one.at) // DAY_US for one in stored.get(usage.digest, ())}
        times.days |= days
        if usage.at_us // DAY_US not in days:
            times.add_midnight(usage)
    return times


def _is_stored(usage: Usage, stored: Found) -> bool:
    """Whether this very event is stored under its identity."""
    return any(_is_same(usage, other) for other in stored.get(usage.digest, ()))


def _is_same(usage: Usage, stored: store.Stored) -> bool:
    return (
        stored.subscription == usage.subscription
        and stored.meter == usage.meter
        and stored.resource == usage.resource
        and stored.at == instant(usage.at_us)
        and stored.quantity == exact(usage.quantity)
        and (usage.correction is None or stored.extra == usage.extra)
    )


def _conflict(usage: Usage, record: Record) -> RejectedError:
    what = "; a correction needs an id of its own" if usage.correction else ""
    return RejectedError(
        "identity_conflict", f"the source used this id for something else before{what}", claim_of(record.value)
    )


def _entries(records: Sequence[Record], judged: Judgement, applied: BatchOutcome) -> Entries:
    """Count newly accepted records for the books."""
    outcomes, rejected = applied.outcomes, applied.rejected
    counts = Counter(  # the broker appends many records at one instant
        [(received_us, part, usage.source, usage.product) for _, usage, received_us, part, _ in judged.placed]
    )
    entries: Entries = Counter()
    for (received_us, partition, source, product), count in counts.items():
        entries[Line(_day(received_us), partition, source, product), "applied"] += count
    for n, usage, received_us, partition, _ in judged.placed:
        if outcomes[n] != "applied":
            line = Line(_day(received_us), partition, usage.source, usage.product)
            entries[line, "applied"] -= 1
            if n not in rejected:
                entries[line, "duplicate"] += 1
    for n, error in applied.rejected.items():
        record = records[n]
        line = Line(record.appended_at.date(), record.partition, error.claim.source, error.claim.product)
        entries[line, "quarantined"] += 1
    return entries


def _day(received_us: int) -> date:
    return FIRST_DAY + timedelta(days=received_us // DAY_US)


def _positions(records: Sequence[Record]) -> list[tuple[int, datetime]]:
    """The last append time of each partition in the batch."""
    return sorted({record.partition: record.appended_at for record in records}.items())
