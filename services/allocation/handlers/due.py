"""What happens to subscriptions by themselves, when it is due.

Every replica does this. A change, what it tells and when to look next are one transaction under the subscription's
lock, so each change happens once, whoever looks, and whoever dies.
"""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Final

from services.allocation import metrics
from services.allocation.handlers.holding import bring_up_to_date
from services.allocation.store.due import find_next_due, find_oldest_due, put_off
from services.allocation.store.subscriptions import try_lock_subscription
from shared.events.ids import SubscriptionId
from shared.runtime import logging
from shared.runtime.delivery import Transaction
from shared.runtime.trouble import passes

BATCH: Final = 200
PUT_OFF: Final = timedelta(minutes=1)
"""How long a subscription waits that could not be looked at: the others must not wait with it."""

Transactions = Callable[[], AbstractAsyncContextManager[Transaction]]


class DueWork:
    """Looks at subscriptions as it becomes due."""

    def __init__(self, transaction: Transactions, *, poll_seconds: float) -> None:
        self._transaction = transaction
        self._poll_seconds = poll_seconds
        self._log = logging.get("due-work")

    async def run(self) -> None:
        """Until cancelled, or until an error that passes; then it is begun again."""
        while True:
            if not await self.look():
                await asyncio.sleep(self._poll_seconds)

    async def look(self) -> int:
        """Do what is due, up to a number; how much was done."""
        async with self._transaction() as tx:
            due = await find_next_due(tx.connection, tx.now, BATCH)
            oldest = await find_oldest_due(tx.connection)
            overdue = (tx.now - oldest).total_seconds() if oldest else 0
            metrics.DUE_WORK_OVERDUE_SECONDS.set(max(0.0, overdue))
        return sum([await self._settle(subscription) for subscription in due])

    async def _settle(self, subscription: SubscriptionId) -> bool:
        try:
            async with self._transaction() as tx:
                settled = await settle_if_due(tx, subscription)
        except Exception as error:
            if passes(error):
                raise
            self._log.exception("due_work_failed", subscription=subscription)
            await self._put_off(subscription)
            metrics.DUE_WORK.labels(outcome="failed").inc()
            return True
        if settled:
            metrics.DUE_WORK.labels(outcome="settled").inc()
        return settled

    async def _put_off(self, subscription: SubscriptionId) -> None:
        async with self._transaction() as tx:
            await put_off(tx.connection, subscription, tx.now, tx.now + PUT_OFF)


async def settle_if_due(tx: Transaction, subscription: SubscriptionId) -> bool:
    """Bring a subscription up to date, if that is due and nobody else is at it; whether it was done."""
    found = await try_lock_subscription(tx.connection, subscription)
    if found is None or not found.is_due(tx.now):
        return False
    await bring_up_to_date(tx, found)
    return True
