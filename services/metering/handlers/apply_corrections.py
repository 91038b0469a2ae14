"""Application of recorded corrections, each set in one transaction.

The transaction that applies a set also settles it. A transaction that applied usage concurrently may not have seen the
effects of a correction (a resource counted before, a level below the peak). So what a correction changed is recomputed
once every transaction begun before its commit has ended.
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
from services.metering.handlers.correction_effects import Effects, apply_effects
from services.metering.handlers.isolated_work import run_isolated
from services.metering.handlers.reversal_targets import find_fault, find_targets_of
from services.metering.store import books, corrections, quarantine, window_changes
from services.metering.store.books import Entries, Line
from services.metering.store.corrections import Correction, Settlement, Target
from services.metering.store.projection import Projection
from shared.events.metering import RestatementCause
from shared.events.outcomes import AuditRecord
from shared.runtime.delivery.set_aside_work import SetAside
from shared.runtime.delivery.transaction import Transaction

WORK = "corrections"
FAILED_DELAY = timedelta(seconds=30)
"""Delay until corrections of a subscription that failed are tried again."""
RECHECK_DELAY = timedelta(seconds=1)
"""Shortest delay until a correction is checked again."""
TARGET_POLL_MAX = timedelta(hours=1)
"""Longest delay between two searches for the missing target of a reversal."""
TARGET_TIMEOUT = OLDEST + timedelta(days=1)
"""Age at which a reversal without target is settled as unmatched.

Its target would be too old to be applied.
"""


@dataclass(slots=True)
class _CorrectionBatch:
    """A set of corrections being applied, with their outcomes so far."""

    catalogue: Catalogue
    now: datetime
    effects: Effects
    settled: list[Settlement] = field(default_factory=list)
    rejected: list[tuple[Correction, Reason, str]] = field(default_factory=list)
    waiting: list[tuple[int, datetime]] = field(default_factory=list)
    reversals: list[tuple[Correction, Target]] = field(default_factory=list)
    unpurged: list[tuple[Correction, Correction]] = field(default_factory=list)
    duplicates: list[Correction] = field(default_factory=list)
    applied: list[Correction] = field(default_factory=list)


async def apply_due_corrections(
    tx: Transaction, projection: Projection, limit: int, aside: SetAside | None = None
) -> int:
    """Apply or recheck at most ``limit`` due corrections. Return how many were due.

    Those that fail are set aside.
    """
    due = await corrections.lock_due(tx.connection, tx.now, limit)
    if not due:
        await corrections.delete_woken(tx.connection)
        return 0
    catalogue = await projection.refresh(tx.connection)
    left = await run_isolated(
        tx,
        aside or SetAside(WORK),
        due,
        lambda some: _correct(tx, catalogue, some),
        key=lambda one: str(one.id),
        whose=lambda one: catalogue.name_of(one.subscription),
    )
    await corrections.postpone(tx.connection, [(one.id, tx.now + FAILED_DELAY) for one in left])
    return len(due)


async def _correct(tx: Transaction, catalogue: Catalogue, due: Sequence[Correction]) -> None:
    batch = _CorrectionBatch(catalogue, tx.now, Effects(catalogue, tx.now))
    await _match(tx, batch, [one for one in due if one.kind == REVERSAL and one.settled_at is None])
    await _reverse(tx, batch)
    for one in due:
        if one.kind == PURGE and one.settled_at is None:
            batch.applied.append(one)
            batch.settled.append(_recompute_purged(batch, one, one, "purge"))
    await _recheck(tx, batch, [one for one in due if one.settled_at is not None])
    await apply_effects(tx.connection, batch.effects)
    await _settle(tx, batch)


async def _match(tx: Transaction, batch: _CorrectionBatch, reversals: Sequence[Correction]) -> None:
    """Find the targets of reversals, and reject reversals that may not have theirs."""
    if not reversals:
        return
    targets, said = await find_targets_of(tx.connection, [one.target for one in reversals if one.target])
    taken: set[UUID] = set()
    for one in reversals:
        target = targets.get(one.target) if one.target else None
        if target is None:
            _postpone(batch, one)
            continue
        purge = said.get(target.digest)
        if fault := find_fault(batch.catalogue, one.subscription, one.product, one.received_at, target, purge):
            batch.rejected.append((one, *fault))
        elif target.digest in taken or (purge.reversed_at if purge else target.reversed_at):
            batch.duplicates.append(one)
        elif purge:
            taken.add(target.digest)
            batch.unpurged.append((one, purge))
        else:
            taken.add(target.digest)
            batch.reversals.append((one, target))


def _postpone(batch: _CorrectionBatch, one: Correction) -> None:
    age = batch.now - one.received_at
    if age > TARGET_TIMEOUT:
        batch.settled.append(Settlement(one.id, "unmatched"))
    else:
        batch.waiting.append((one.id, batch.now + min(max(age / 2, RECHECK_DELAY), TARGET_POLL_MAX)))


async def _reverse(tx: Transaction, batch: _CorrectionBatch) -> None:
    """Mark the targets of reversals as reversed.

    A reversal whose target another one has marked is a duplicate.
    """
    found = [(target.digest, target.at) for _, target in batch.reversals]
    marked = await window_changes.mark_reversed(tx.connection, found, batch.now)
    for one, target in batch.reversals:
        counted = marked.get(target.digest)
        if counted is None:
            batch.duplicates.append(one)
            continue
        batch.applied.append(one)
        batch.settled.append(
            _take_out(batch, one, target) if counted else Settlement(one.id, "applied", target_at=target.at)
        )
    held = await corrections.reverse_purges(tx.connection, [purge.id for _, purge in batch.unpurged], batch.now)
    for one, purge in batch.unpurged:
        if purge.id not in held:
            batch.duplicates.append(one)
            continue
        batch.applied.append(one)
        batch.settled.append(_recompute_purged(batch, one, purge, "reversal"))


def _take_out(batch: _CorrectionBatch, one: Correction, target: Target) -> Settlement:
    """Take a usage event out of its window."""
    window = batch.effects.take_out(target, one.received_at)
    look_at = None if batch.effects.is_subtracted(target.meter) else batch.now + RECHECK_DELAY
    return Settlement(one.id, "applied", look_at, target.meter, window.start, target.resource, target.at)


def _recompute_purged(
    batch: _CorrectionBatch, one: Correction, purge: Correction, cause: RestatementCause
) -> Settlement:
    """Have the resource of a purge, applied or reversed, counted again."""
    batch.effects.recompute(purge, purge.meter or NO_METER, purge.at, purge.resource, cause)
    look_at = batch.now + RECHECK_DELAY
    return Settlement(one.id, "applied", look_at, purge.meter, purge.window_start, purge.resource, purge.at)


async def _recheck(tx: Transaction, batch: _CorrectionBatch, settled: Sequence[Correction]) -> None:
    """Recompute what corrections changed, where that is due.

    It is due once every transaction that did not see the correction has ended.
    """
    if not settled:
        return
    horizon = await corrections.load_oldest_running(tx.connection)
    ready = [one for one in settled if one.looks_from is not None and one.looks_from < horizon]
    batch.waiting += [
        (one.id, batch.now + RECHECK_DELAY)
        for one in settled
        if one.looks_from is not None and one.looks_from >= horizon
    ]
    for one in ready:
        if one.meter is not None and one.window_start is not None:
            cause: RestatementCause = "reversal" if one.kind == REVERSAL else "purge"
            batch.effects.recompute(one, one.meter, one.window_start, one.resource, cause)
    first = [one.id for one in settled if one.looks_from is None]
    await corrections.begin_recheck(tx.connection, first, batch.now + RECHECK_DELAY)
    await corrections.finish_recheck(tx.connection, [one.id for one in ready])


async def _settle(tx: Transaction, batch: _CorrectionBatch) -> None:
    """Save and book the outcome of each correction, and audit the reversals."""
    batch.settled += [Settlement(one.id, "duplicate") for one in batch.duplicates]
    if batch.settled:
        await corrections.settle(tx.connection, batch.settled, batch.now)
    if batch.waiting:
        await corrections.postpone(tx.connection, batch.waiting)
    await quarantine_corrections(tx, batch.catalogue, batch.rejected)
    entries: Entries = Counter()
    for one in batch.duplicates:
        entries[_line(one), "applied"] -= 1
        entries[_line(one), "duplicate"] += 1
    await books.move_entries(tx.connection, entries)
    for one in batch.applied:
        if one.kind == REVERSAL:
            await tx.audit(_audited(batch, one))
    tx.after_commit(lambda: _count(batch))


async def quarantine_corrections(
    tx: Transaction, catalogue: Catalogue, rejected: Sequence[tuple[Correction, Reason, str]]
) -> None:
    """Quarantine corrections that were booked as applied.

    Each is given with its reason and a sentence that explains it.
    """
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


def _audited(batch: _CorrectionBatch, one: Correction) -> AuditRecord:
    state = batch.catalogue.by_number[one.subscription].state
    return AuditRecord(
        at=batch.now,
        account=state.account,
        subscription=state.id,
        actor=one.source,
        action="reverse-usage",
        object=str(one.target_name),
        outcome="allowed",
        reason=one.reason,
        correlation_id=one.event_id,
    )


def _count(batch: _CorrectionBatch) -> None:
    outcomes = {"applied": batch.applied, "duplicate": batch.duplicates}
    for outcome, several in outcomes.items():
        for kind, number in Counter(one.kind for one in several).items():
            metrics.CORRECTIONS.labels(kind="reversal" if kind == REVERSAL else "purge", outcome=outcome).inc(number)
    for _, reason, _ in batch.rejected:
        metrics.CORRECTIONS.labels(kind="reversal", outcome="quarantined").inc()
        metrics.USAGE_QUARANTINED.labels(reason=reason).inc()
