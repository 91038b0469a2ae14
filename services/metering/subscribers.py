"""Kafka's edge: batches of usage, and how long usage waits for the projection."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

from services.metering import metrics
from services.metering.handlers.apply_usage import Applied, UsageApplier
from shared.runtime.delivery import Record, Transaction
from shared.runtime.postgres import Connection

LOOK_SECONDS = 0.05
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


class ProjectionTail:
    """Knows where allocation.events ends, and waits until the projection has come as far."""

    def __init__(
        self,
        ends: Callable[[], Awaitable[dict[int, int]]],
        stored: Callable[[], Awaitable[dict[int, int]]],
        within_seconds: float,
    ) -> None:
        self._ends = ends
        self._stored = stored
        self._within_seconds = within_seconds

    async def catch_up(self, _: Connection) -> None:
        """Wait until everything that is in the topic now is in the projection; at most for the set time."""
        try:
            async with asyncio.timeout(self._within_seconds):
                ends = await self._ends()
                while not _reached(await self._stored(), ends):  # noqa: ASYNC110  # another consumer stores it
                    await asyncio.sleep(LOOK_SECONDS)
        except TimeoutError:
            return


def _reached(stored: dict[int, int], ends: dict[int, int]) -> bool:
    return all(stored.get(partition, 0) >= end for partition, end in ends.items())
