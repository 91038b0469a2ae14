"""Corrections are applied: a moment after they were recorded, set by set, each in the transaction that settles it.

Whoever applied usage at the same moment may not have seen a correction's effects (a resource that was counted already,
a level below the peak): so what it changed is found anew once every transaction that began before its commit has ended.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from services.metering import metrics
from services.metering.domain.catalogue import Catalogue
from services.metering.domain.corrections import NO_METER, PURGE, REVERSAL
from services.metering.domain.placement import OLDEST
from services.metering.domain.reasons import Claim, Reason, RejectedError
from services.metering.handlers.correction_effects import Effects, carry_out
from services.metering.handlers.isolated_work import do_each
from services.metering.handlers.reversal_targets import find_fault, find_named
from services.metering.store import books, corrections, quarantine, window_changes
from services.metering.store.books import Entries, Line
from services.metering.store.corrections import Correction, Settled, Target
from services.metering.store.projection import Projection
from shared.events.metering import RestatementCause
from shared.events.outcomes import AuditRecord
from shared.runtime.delivery.set_aside_work import SetAside
from shared.runtime.delivery.transaction import Transaction

WORK = "corrections"
POISONED = timedelta(seconds=30)
"""How long what cannot be handled waits, alone, before it is tried again."""
AGAIN = timedelta(seconds=1)
"""How soon at the earliest to look again."""
SELDOM = timedelta(hours=1)
"""How seldom at most a reversal is looked at whose target has not come."""
WAITS = OLDEST + timedelta(days=1)
"""After this time the target of a reversal would be too old to be applied."""


@dataclass(slots=True)
class _Settling:
    """A set of corrections on its way: what becomes of each."""

    catalogue: Catalogue
    now: datetime
    effects: Effects
    settled: list[Settled] = field(default_factory=list)
    rejected: list[tuple[Correction, Reason, str]] = field(default_factory=list)
    waiting: list[tuple[int, datetime]] = field(default_factory=list)
    reversals: list[tuple[Correction, Target]] = field(default_factory=list)
    unpurged: list[tuple[Correction, Correction]] = field(default_factory=list)
    duplicates: list[Correction] = field(default_factory=list)
    applied: list[Correction] = field(default_factory=list)


async def correct_some(tx: Transaction, projection: Projection, limit: int, aside: SetAside | None = None) -> int:
    """Look at some corrections that are due; how many. Those of a subscription for which that fails wait alone."""
    due = await corrections.lock_due(tx.connection, tx.now, limit)
    if not due:
        await corrections.forget_woken(tx.connection)
        return 0
    catalogue = await projection.refresh(tx.connection)
    left = await do_each(
        tx,
        aside or SetAside(WORK),
        due,
        lambda some: _correct(tx, catalogue, some),
        key=lambda one: str(one.id),
        whose=lambda one: catalogue.name_of(one.subscription),
    )
    await corrections.wait(tx.connection, [(one.id, tx.now + POISONED) for one in left])
    return len(due)


async def _correct(tx: Transaction, catalogue: Catalogue, due: Sequence[Correction]) -> None:
    settling = _Settling(catalogue, tx.now, Effects(catalogue, tx.now))
    await _match(tx, settling, [one for one in due if one.kind == REVERSAL and one.settled_at is None])
    await _reverse(tx, settling)
    for one in due:
        if one.kind == PURGE and one.settled_at is None:
            settling.applied.append(one)
            settling.settled.append(_touch(settling, one, one, "purge"))
    await _look_again(tx, settling, [one for one in due if one.settled_at is not None])
    await carry_out(tx.connection, settling.effects)
    await _settle(tx, settling)


async def _match(tx: Transaction, settling: _Settling, reversals: Sequence[Correction]) -> None:
    """Find what reversals name, and judge whether they may have it."""
    if not reversals:
        return
    targets, said = await find_named(tx.connection, [one.target for one in reversals if one.target])
    taken: set[UUID] = set()
    for one in reversals:
        target = targets.get(one.target) if one.target else None
        if target is None:
            _wait(settling, one)
            continue
        purge = said.get(target.digest)
        if fault := find_fault(settling.catalogue, one.subscription, one.product, one.received_at, target, purge):
            settling.rejected.append((one, *fault))
        elif target.digest in taken or (purge.reversed_at if purge else target.reversed_at):
            settling.duplicates.append(one)
        elif purge:
            taken.add(target.digest)
            settling.unpurged.append((one, purge))
        else:
            taken.add(target.digest)
            settling.reversals.append((one, target))


def _wait(settling: _Settling, one: Correction) -> None:
    age = settling.now - one.received_at
    if age > WAITS:
        settling.settled.append(Settled(one.id, "unmatched"))
    else:
        settling.waiting.append((one.id, settling.now + min(max(age / 2, AGAIN), SELDOM)))


async def _reverse(tx: Transaction, settling: _Settling) -> None:
    """Mark what is reversed. Who finds it marked by another at the same moment is a duplicate."""
    found = [(target.digest, target.at) for _, target in settling.reversals]
    marked = await window_changes.mark_reversed(tx.connection, found, settling.now)
    for one, target in settling.reversals:
        counted = marked.get(target.digest)
        if counted is None:
            settling.duplicates.append(one)
            continue
        settling.applied.append(one)
        settling.settled.append(
            _take_out(settling, one, target) if counted else Settled(one.id, "applied", target_at=target.at)
        )
    held = await corrections.reverse_purges(tx.connection, [purge.id for _, purge in settling.unpurged], settling.now)
    for one, purge in settling.unpurged:
        if purge.id not in held:
            settling.duplicates.append(one)
            continue
        settling.applied.append(one)
        settling.settled.append(_touch(settling, one, purge, "reversal"))


def _take_out(settling: _Settling, one: Correction, target: Target) -> Settled:
    """A usage event no longer counts."""
    window = settling.effects.take_out(target, one.received_at)
    look_at = None if settling.effects.is_subtracted(target.meter) else settling.now + AGAIN
    return Settled(one.id, "applied", look_at, target.meter, window.start, target.resource, target.at)


def _touch(settling: _Settling, one: Correction, purge: Correction, cause: RestatementCause) -> Settled:
    """A resource may count, or not, where a purge has come or gone."""
    settling.effects.find_anew(purge, purge.meter or NO_METER, purge.at, purge.resource, cause)
    look_at = settling.now + AGAIN
    return Settled(one.id, "applied", look_at, purge.meter, purge.window_start, purge.resource, purge.at)


async def _look_again(tx: Transaction, settling: _Settling, settled: Sequence[Correction]) -> None:
    """Find anew what corrections changed, once nobody is left who did not see them."""
    if not settled:
        return
    horizon = await corrections.horizon(tx.connection)
    ready = [one for one in settled if one.looks_from is not None and one.looks_from < horizon]
    settling.waiting += [
        (one.id, settling.now + AGAIN) for one in settled if one.looks_from is not None and one.looks_from >= horizon
    ]
    for one in ready:
        if one.meter is not None and one.window_start is not None:
            cause: RestatementCause = "reversal" if one.kind == REVERSAL else "purge"
            settling.effects.find_anew(one, one.meter, one.window_start, one.resource, cause)
    first = [one.id for one in settled if one.looks_from is None]
    await corrections.look_from_here(tx.connection, first, settling.now + AGAIN)
    await corrections.done(tx.connection, [one.id for one in ready])


async def _settle(tx: Transaction, settling: _Settling) -> None:
    """Note and book what became of each, and tell the audit log of what was reversed."""
    settling.settled += [Settled(one.id, "duplicate") for one in settling.duplicates]
    if settling.settled:
        await corrections.settle(tx.connection, settling.settled, settling.now)
    if settling.waiting:
        await corrections.wait(tx.connection, settling.waiting)
    await quarantine_corrections(tx, settling.catalogue, settling.rejected)
    entries: Entries = Counter()
    for one in settling.duplicates:
        entries[_line(one), "applied"] -= 1
        entries[_line(one), "duplicate"] += 1
    await books.move_entries(tx.connection, entries)
    for one in settling.applied:
        if one.kind == REVERSAL:
            await tx.audit(_audited(settling, one))
    tx.after_commit(lambda: _count(settling))


async def quarantine_corrections(
    tx: Transaction, catalogue: Catalogue, rejected: Sequence[tuple[Correction, Reason, str]]
) -> None:
    """Put corrections into quarantine that were booked as applied: each with its reason and a sentence."""
    if not rejected:
        return
    errors = [
        (
            one.record,
            RejectedError(reason, detail, _claim(catalogue, one), one.at if reason == "after_end" else None),
        )
        for one, reason, detail in rejected
    ]
    await quarantine.insert_rejected(tx.connection, errors, tx.now, catalogue.version)
    await corrections.delete_corrections(tx.connection, [one for one, *_ in rejected])
    entries: Entries = Counter()
    for one, *_ in rejected:
        entries[_line(one), "applied"] -= 1
        entries[_line(one), "quarantined"] += 1
    await books.move_entries(tx.connection, entries)


def _claim(catalogue: Catalogue, one: Correction) -> Claim:
    return Claim(one.source, one.product, catalogue.by_number[one.subscription].state.id, one.event_id)


def _line(one: Correction) -> Line:
    return Line(one.received_at.date(), one.record.partition, one.source, one.product)


def _audited(settling: _Settling, one: Correction) -> AuditRecord:
    state = settling.catalogue.by_number[one.subscription].state
    return AuditRecord(
        at=settling.now,
        account=state.account,
        subscription=state.id,
        actor=one.source,
        action="reverse-usage",
        object=str(one.target_name),
        outcome="allowed",
        reason=one.reason,
        correlation_id=one.event_id,
    )


def _count(settling: _Settling) -> None:
    outcomes = {"applied": settling.applied, "duplicate": settling.duplicates}
    for outcome, several in outcomes.items():
        for kind, number in Counter(one.kind for one in several).items():
            metrics.CORRECTIONS.labels(kind="reversal" if kind == REVERSAL else "purge", outcome=outcome).inc(number)
    for _, reason, _ in settling.rejected:
        metrics.CORRECTIONS.labels(kind="reversal", outcome="quarantined").inc()
        metrics.USAGE_QUARANTINED.labels(reason=reason).inc()
