"""Retry quarantined usage automatically once the state that was missing is known.

Records are judged again by the time of their first acceptance, so that they are not late. The books move them from
quarantined to their new outcome, on the day of their arrival.
"""

from collections import Counter
from collections.abc import Sequence

from services.metering import metrics
from services.metering.handlers.apply_usage import BatchOutcome, UsageApplier
from services.metering.handlers.isolated_work import run_isolated
from services.metering.store import quarantine
from services.metering.store.books import Entries, Line, Outcome, move_entries
from services.metering.store.quarantine import QuarantinedUsage
from shared.runtime.delivery.set_aside_work import SetAside
from shared.runtime.delivery.transaction import Transaction

WORK = "replays"


async def retry_quarantined(tx: Transaction, applier: UsageApplier, limit: int) -> int:
    """Judge at most ``limit`` records again. Return how many.

    Records that still cannot be applied wait for the next change of the projection; those that fail are set aside.
    """
    waiting = await quarantine.lock_set_aside(tx.connection, WORK, tx.now, limit)
    waiting = waiting or await quarantine.lock_retryable(tx.connection, WORK, tx.now, limit)
    if waiting:
        await _retry(tx, applier, waiting)
    return len(waiting)


async def replay_range(
    tx: Transaction, applier: UsageApplier, after: int, last: int, limit: int
) -> tuple[int, int | None]:
    """Judge a range of the quarantine again, whatever the reasons.

    The range has ids above ``after`` up to ``last``; at most ``limit`` records are judged. Return how many left the
    quarantine, and the last id judged (``None``: there were no more).
    """
    waiting = await quarantine.lock_unsettled(tx.connection, after, last, limit)
    return (await _retry(tx, applier, waiting), waiting[-1].id) if waiting else (0, None)


async def _retry(tx: Transaction, applier: UsageApplier, waiting: list[QuarantinedUsage]) -> int:
    outcomes = await reapply_quarantined(tx, applier, waiting)
    return sum(outcome != "quarantined" for outcome in outcomes)


async def reapply_quarantined(tx: Transaction, applier: UsageApplier, waiting: list[QuarantinedUsage]) -> list[Outcome]:
    """Judge locked records again. Return their outcomes.

    Records that fail stay in quarantine and are set aside.
    """
    outcomes: dict[int, Outcome] = {}

    async def judge(some: Sequence[QuarantinedUsage]) -> None:
        outcomes.update(zip((one.id for one in some), await _judge(tx, applier, some), strict=True))

    def whose(one: QuarantinedUsage) -> str:
        return one.subscription or f"record {one.id}"

    await run_isolated(tx, SetAside(WORK), waiting, judge, key=lambda one: str(one.id), whose=whose)
    return [outcomes.get(one.id, "quarantined") for one in waiting]


async def _judge(tx: Transaction, applier: UsageApplier, waiting: Sequence[QuarantinedUsage]) -> list[Outcome]:
    applied = await applier.reapply(tx, [one.record for one in waiting])
    left = [(waiting[n], outcome) for n, outcome in enumerate(applied.outcomes) if outcome != "quarantined"]
    await quarantine.settle(tx.connection, [(one.id, outcome) for one, outcome in left], tx.now)
    judged = [(waiting[n].id, error) for n, error in applied.rejected.items()]
    await quarantine.update_reasons(tx.connection, judged, applied.catalogue_version)
    await move_entries(tx.connection, _moves(waiting, applied))
    tx.after_commit(lambda: _count(applied))
    return applied.outcomes


def _moves(waiting: Sequence[QuarantinedUsage], applied: BatchOutcome) -> Entries:
    entries: Entries = Counter()
    for one, outcome in zip(waiting, applied.outcomes, strict=True):
        if outcome != "quarantined":
            record = one.record
            line = Line(record.appended_at.date(), record.partition, one.source, one.product)
            entries[line, "quarantined"] -= 1
            entries[line, outcome] += 1
    return entries


def _count(applied: BatchOutcome) -> None:
    for outcome, number in Counter(applied.outcomes).items():
        if outcome != "quarantined":
            metrics.USAGE_REPLAYED.labels(outcome=outcome).inc(number)
