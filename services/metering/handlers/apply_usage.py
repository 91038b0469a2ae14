"""Usage is applied: judged, de-duplicated, added up and booked, a batch in one transaction."""

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
    Judged,
    Placed,
    Places,
    day_of,
    instant,
    judge,
    judge_some,
    nothing_judged,
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
"""Then others have their turn: a batch that waits for the database goes on before this one is judged whole."""
PROVISIONAL_US = microseconds(EPOCH + PROVISIONAL_FOR)

CatchUp = Callable[[Connection], Awaitable[None]]
"""Waits, up to a limit, until the projection holds what allocation.events holds now."""


async def _no_wait(_: Connection) -> None:
    pass


@dataclass(slots=True)
class Applied:
    """What became of each record of a batch, by its number."""

    outcomes: list[Outcome]
    rejected: dict[int, RejectedError]
    judged_by: int
    """The version of the catalogue that they were judged by. The process may know a newer one by now."""


@dataclass(frozen=True, slots=True)
class UsageApplier:
    """Applies batches of usage, each in a transaction of the caller.

    What it remembers is what is committed: the catalogue, and which partitions exist. A batch adds to that after its
    commit, so that one that is rolled back leaves nothing.
    """

    projection: Projection = field(default_factory=Projection)
    catch_up: CatchUp = _no_wait
    known_partitions: partitions.Known = field(default_factory=set)

    async def apply(self, tx: Transaction, records: Sequence[Record]) -> Applied:
        """Apply records that arrive for the first time: effects, quarantine, books, positions."""
        judged = await self._judge(tx.connection, records)
        applied = await self._add(tx, judged, records)
        if applied.rejected:
            await quarantine.insert_rejected(
                tx.connection,
                [(records[n], error) for n, error in sorted(applied.rejected.items())],
                tx.now,
                applied.judged_by,
            )
        await books.book(tx.connection, _entries(records, judged, applied), records[0].topic, _positions(records))
        return applied

    async def apply_again(self, tx: Transaction, records: Sequence[Record]) -> Applied:
        """Apply records that were accepted (and booked) before."""
        judged = judge(records, await self.projection.refresh(tx.connection))
        _leave_forgotten(judged, records, tx.now)
        await _leave_wrong(tx.connection, judged, records)
        return await self._add(tx, judged, records)

    async def _judge(self, connection: Connection, records: Sequence[Record]) -> Judged:
        """Judge all by the catalogue that the batch began with, then what that did not know by a newer one."""
        judged = nothing_judged(await self.projection.refresh(connection))
        for first in range(0, len(records), JUDGED_AT_ONCE):
            if first:
                await asyncio.sleep(0)
            numbers = range(first, min(first + JUDGED_AT_ONCE, len(records)))
            judge_some(records, numbers, judged)
        if waiting := judged.waiting():
            await self.catch_up(connection)
            newer = await self.projection.refresh(connection)
            if newer.version != judged.catalogue.version:
                judged.catalogue = newer
                judge_some(records, waiting + judged.after_end(), judged)
                judged.placed.sort(key=lambda placed: placed.n)
        return judged

    async def _add(self, tx: Transaction, judged: Judged, records: Sequence[Record]) -> Applied:
        """De-duplicate and add up what is placed, as if one record came after the other.

        What an earlier record of the batch may stand in the way of waits until it is known whether that one was
        applied: another round, for what nothing stands in the way of.
        """
        outcomes: list[Outcome] = ["applied"] * len(records)
        rejected = dict(judged.rejected)
        left: Sequence[Placed] = await self._prepare(tx, judged.placed) if judged.placed else ()
        while left:
            first, later = split_repeats(left)
            batch = await UsageBatch.insert(tx.connection, first)
            there, left = batch.repeated, ()
            if there or later:
                known = [placed for placed in first if placed.n in there]
                stored = await _find_stored(tx.connection, known + later)
                taken = _taken(first, there, stored) if later else {}
                left = [one for one in later if not taken[one.usage.digest].holds(one.usage)]
                repeats = known + [one for one in later if taken[one.usage.digest].holds(one.usage)]
                for one in repeats:
                    if _is_stored(one.usage, stored):
                        outcomes[one.n] = "duplicate"
                    else:
                        rejected[one.n] = _conflict(one.usage, records[one.n])
            if len(there) < len(first):
                fresh = [placed for placed in first if placed.n not in there] if there else first
                await self._count(tx, batch, fresh, records, judged)
        for n in rejected:
            outcomes[n] = "quarantined"
        return Applied(outcomes, rejected, judged.catalogue.version)

    async def _count(
        self, tx: Transaction, batch: UsageBatch, fresh: Sequence[Placed], records: Sequence[Record], judged: Judged
    ) -> None:
        """Add up what is new: windows that were final are kept as they were, corrections are recorded and met.

        What was placed by older knowledge than is committed by now is counted so, and moved afterwards.
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
            await moves.note_some(tx.connection, misplaced(fresh, newest), tx.now)
        await restatements.note_final(tx.connection, _final_windows(fresh, catalogue, tx.now), "late_usage", tx.now)
        await batch.add_up()

    async def _prepare(self, tx: Transaction, placed: Sequence[Placed]) -> Sequence[Placed]:
        """Make the partitions that the batch needs; return what is placed with numbers for its new sources."""
        if new := {item.usage.source for item in placed if not item.usage.source_number}:
            numbers = await ensure_sources(tx.connection, sorted(new))
            tx.after_commit(lambda: self.projection.learn_sources(numbers))
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


async def _leave_wrong(connection: Connection, judged: Judged, records: Sequence[Record]) -> None:
    """Reversals that may not have what they name stay in quarantine: recorded, they would come back as new ones."""
    faults = await find_faults(connection, judged.placed, judged.catalogue)
    for n, (reason, detail) in faults.items():
        judged.rejected[n] = RejectedError(reason, detail, claim_of(records[n].value))
    judged.placed = [item for item in judged.placed if item.n not in faults]


def misplaced(placed: Sequence[Placed], catalogue: Catalogue) -> list[Misplaced]:
    """The subscriptions of which some lies elsewhere by this catalogue."""
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
    """The partitions of each table that hold these events, their midnights, windows and hours."""
    for number in {item.usage.at_us // DAY_US for item in placed}:
        day = FIRST_DAY + timedelta(days=number)
        yield partitions.USAGE, day
        yield partitions.HOURS, day
        yield partitions.MIDNIGHTS, day
        yield partitions.MIDNIGHTS, day + timedelta(days=1)
    for number in {item.usage.window_us // DAY_US for item in placed if item.usage.kind == UNIQUE}:
        yield partitions.SIGHTINGS, FIRST_DAY + timedelta(days=number)


def _leave_forgotten(judged: Judged, records: Sequence[Record], now: datetime) -> None:
    """What is older than raw usage is kept stays in quarantine: it cannot be told from a repeat any more."""
    oldest_us = microseconds(now - timedelta(days=partitions.USAGE.kept_days))
    kept = []
    for item in judged.placed:
        if item.usage.at_us >= oldest_us:
            kept.append(item)
        else:
            detail = f"older than the {partitions.USAGE.kept_days} days in which a repeat would be noticed"
            judged.rejected[item.n] = RejectedError("too_old", detail, claim_of(records[item.n].value))
    judged.placed = kept


def _final_windows(fresh: Sequence[Placed], catalogue: Catalogue, now: datetime) -> set[restatements.Key]:
    """The windows of new usage that are final already."""
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
    """What stands on the days of repeats, by digest. Each is read once, however often it is repeated."""
    wanted = dict.fromkeys((placed.usage.digest, day_of(placed.usage.at_us)) for placed in repeats)
    return await store.find_stored(connection, list(wanted))


def _taken(first: Sequence[Placed], there: set[int], stored: Found) -> dict[bytes, Places]:
    """Where identities are taken, after ``first`` was inserted, but for those ``there`` before."""
    taken: dict[bytes, Places] = {}
    for n, usage, _, _, _ in first:
        places = taken.setdefault(usage.digest, Places())
        if n not in there:
            places.take(usage)
            continue
        days = {microseconds(one.at) // DAY_US for one in stored.get(usage.digest, ())}
        places.days |= days
        if usage.at_us // DAY_US not in days:
            places.take_midnight(usage)
    return taken


def _is_stored(usage: Usage, stored: Found) -> bool:
    """Whether what has the identity is this event."""
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


def _entries(records: Sequence[Record], judged: Judged, applied: Applied) -> Entries:
    """The books' entries of newly accepted records."""
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
    """The newest append time of each partition in the batch."""
    return sorted({record.partition: record.appended_at for record in records}.items())
