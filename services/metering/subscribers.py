"""Kafka's edge: batches of usage."""

import time
from collections import Counter
from collections.abc import Sequence

from services.metering import metrics
from services.metering.handlers.apply_usage import Applied, UsageApplier
from shared.runtime.delivery import Record, Transaction

BEHIND_SECONDS = 2.0


class UsageSubscriber:
    """Applies each batch in the transaction that the runtime opened, and counts it when that is committed."""

    def __init__(self, applier: UsageApplier, full_records: int) -> None:
        self.applier = applier
        self._full_records = full_records
        self._full_at = 0.0

    def is_behind(self) -> bool:
        """Whether more usage is probably waiting: the last batch was (nearly) full, a moment ago."""
        return time.monotonic() - self._full_at < BEHIND_SECONDS

    async def on_usage(self, tx: Transaction, records: Sequence[Record]) -> None:
        """One batch."""
        started = time.perf_counter()
        applied = await self.applier.apply(tx.connection, records, tx.now)
        self._full_at = time.monotonic() if 2 * len(records) >= self._full_records else 0.0
        tx.after_commit(self.applier.committed)
        tx.after_commit(lambda: _count(applied, time.perf_counter() - started))


def _count(applied: Applied, seconds: float) -> None:
    metrics.USAGE_BATCH_SECONDS.observe(seconds)
    metrics.USAGE_BATCH_RECORDS.observe(len(applied.outcomes))
    for outcome, number in Counter(applied.outcomes).items():
        metrics.USAGE_EVENTS.labels(outcome=outcome).inc(number)
    for reason, number in Counter(error.reason for error in applied.rejected.values()).items():
        metrics.USAGE_QUARANTINED.labels(reason=reason).inc(number)
