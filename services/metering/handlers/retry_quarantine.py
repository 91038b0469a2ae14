"""Quarantined usage is applied by itself when what was missing has become known.

Judged again with its first acceptance as "now", so that it is not late; the books move from quarantined to what it
became, on the day of its arrival.
"""

from collections import Counter
from collections.abc import Sequence

from services.metering import metrics
from services.metering.handlers.apply_usage import Applied, UsageApplier
from services.metering.handlers.isolated_work import do_each
from services.metering.store import quarantine
from services.metering.store.books import Entries, Line, Outcome, move_entries
from services.metering.store.quarantine import Waiting
from shared.runtime.delivery.set_aside_work import SetAside
from shared.runtime.delivery.transaction import Transaction

WORK = "replays"


async def replay_some(tx: Transaction, applier: UsageApplier, limit: int) -> int:
    """Judge some records again; how many. Those that still cannot be applied wait for the next change; those of a
    subscription for which judging fails wait alone."""
    waiting = await quarantine.lock_set_aside(tx.connection, WORK, tx.now, limit)
    waiting = waiting or await quarantine.lock_waiting(tx.connection, WORK, tx.now, limit)
    if waiting:
        await _replay(tx, applier, waiting)
    return len(waiting)


async def replay_after(
    tx: Transaction, applier: UsageApplier, after: int, last: int, limit: int
) -> tuple[int, int | None]:
    """Judge records up to the ``last`` again, whatever their reason; how many left the quarantine, and the last id
    (``None``: no more)."""
    waiting = await quarantine.lock_unsettled(tx.connection, after, last, limit)
    return (await _replay(tx, applier, waiting), waiting[-1].id) if waiting else (0, None)


async def _replay(tx: Transaction, applier: UsageApplier, waiting: list[Waiting]) -> int:
    outcomes = await judge_waiting(tx, applier, waiting)
    return sum(outcome != "quarantined" for outcome in outcomes)


async def judge_waiting(tx: Transaction, applier: UsageApplier, waiting: list[Waiting]) -> list[Outcome]:
    """Judge records again; what became of each. Those that cannot be judged stay, and are tried again."""
    outcomes: dict[int, Outcome] = {}

    async def judge(some: Sequence[Waiting]) -> None:
        outcomes.update(zip((one.id for one in some), await _judge(tx, applier, some), strict=True))

    def whose(one: Waiting) -> str:
        return one.subscription or f"record {one.id}"

    await do_each(tx, SetAside(WORK), waiting, judge, key=lambda one: str(one.id), whose=whose)
    return [outcomes.get(one.id, "quarantined") for one in waiting]


async def _judge(tx: Transaction, applier: UsageApplier, waiting: Sequence[Waiting]) -> list[Outcome]:
    applied = await applier.apply_again(tx, [one.record for one in waiting])
    left = [(waiting[n], outcome) for n, outcome in enumerate(applied.outcomes) if outcome != "quarantined"]
    await quarantine.settle(tx.connection, [(one.id, outcome) for one, outcome in left], tx.now)
    judged = [(waiting[n].id, error) for n, error in applied.rejected.items()]
    await quarantine.judge_again(tx.connection, judged, applied.judged_by)
    await move_entries(tx.connection, _moves(waiting, applied))
    tx.after_commit(lambda: _count(applied))
    return applied.outcomes


def _moves(waiting: Sequence[Waiting], applied: Applied) -> Entries:
    entries: Entries = Counter()
    for one, outcome in zip(waiting, applied.outcomes, strict=True):
        if outcome != "quarantined":
            record = one.record
            line = Line(record.appended_at.date(), record.partition, one.source, one.product)
            entries[line, "quarantined"] -= 1
            entries[line, outcome] += 1
    return entries


def _count(applied: Applied) -> None:
    for outcome, number in Counter(applied.outcomes).items():
        if outcome != "quarantined":
            metrics.USAGE_REPLAYED.labels(outcome=outcome).inc(number)
