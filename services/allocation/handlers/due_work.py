"""Applies changes of subscriptions without a command when they are due.

Every replica runs this. A change, its events and the next due time are one transaction under the subscription's lock,
so each change happens once, whichever replica applies it and wherever one is killed. A subscription that fails is left
out for a while, and the others do not wait for it.
"""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from services.allocation import metrics
from services.allocation.handlers.subscription_lock import bring_up_to_date
from services.allocation.store.due_work import find_next_due, find_oldest_due
from services.allocation.store.subscriptions import try_lock_subscription
from shared.events.ids import SubscriptionId
from shared.runtime.delivery.backoff import is_transient
from shared.runtime.delivery.transaction import Transaction
from shared.runtime.postgres.pool import is_lock_or_timeout
from shared.runtime.process import logging
from shared.runtime.process.background import repeat

BATCH: Final = 200
LEFT_OUT: Final = timedelta(seconds=1)
LEFT_OUT_MAX: Final = timedelta(minutes=1)
"""Longest delay of a subscription that failed.

The delay doubles with each failure.
"""
LOCK_WAIT: Final = "SET LOCAL lock_timeout = '2s'"
"""Another transaction may hold a lock on a subscription's rows for long."""

Transactions = Callable[[], AbstractAsyncContextManager[Transaction]]


@dataclass(frozen=True, slots=True)
class _LeftOut:
    delay: timedelta
    until: datetime


class DueWork:
    """Polls for subscriptions that are due, and brings them up to date."""

    def __init__(self, transaction: Transactions, *, poll_seconds: float) -> None:
        self._transaction = transaction
        self._poll_seconds = poll_seconds
        self._left_out: dict[SubscriptionId, _LeftOut] = {}
        self._log = logging.get("due-work")

    async def run(self) -> None:
        """Run until cancelled, or until a transient error.

        After such an error the caller restarts it.
        """
        await repeat(self._poll)

    async def _poll(self) -> float:
        return 0 if await self.settle_due() else self._poll_seconds

    async def settle_due(self) -> int:
        """Process up to ``BATCH`` due subscriptions; the number processed."""
        async with self._transaction() as tx:
            left_out = [id for id, one in self._left_out.items() if one.until > tx.now]  # noqa: A001
            due = await find_next_due(tx.connection, tx.now, BATCH, left_out)
            oldest = await find_oldest_due(tx.connection)
            overdue = (tx.now - oldest).total_seconds() if oldest else 0
            metrics.DUE_WORK_OVERDUE_SECONDS.set(max(0.0, overdue))
            now = tx.now
        return sum([await self._settle(subscription, now) for subscription in due])

    async def _settle(self, subscription: SubscriptionId, now: datetime) -> bool:
        try:
            async with self._transaction() as tx:
                settled = await settle_if_due(tx, subscription)
        except Exception as error:
            if is_transient(error) and not is_lock_or_timeout(error):
                raise
            self._leave_out(subscription, now)
            self._log.exception("due_work_failed", subscription=subscription)
            metrics.DUE_WORK.labels(outcome="failed").inc()
            return True
        if settled:
            metrics.DUE_WORK.labels(outcome="settled").inc()
            if self._left_out.pop(subscription, None):
                metrics.DUE_WORK_LEFT_OUT.set(len(self._left_out))
        return settled

    def _leave_out(self, subscription: SubscriptionId, now: datetime) -> None:
        before = self._left_out.get(subscription)
        delay = min(before.delay * 2, LEFT_OUT_MAX) if before else LEFT_OUT
        self._left_out[subscription] = _LeftOut(delay, now + delay)
        metrics.DUE_WORK_LEFT_OUT.set(len(self._left_out))


async def settle_if_due(tx: Transaction, subscription: SubscriptionId) -> bool:
    """Bring a subscription up to date if it is due; return whether it was.

    One that another transaction has locked is left alone, and counts as not due.
    """
    await tx.connection.execute(LOCK_WAIT)
    found = await try_lock_subscription(tx.connection, subscription)
    if found is None or not found.is_due(tx.now):
        return False
    await bring_up_to_date(tx, found)
    return True
