"""What happens to subscriptions by themselves, when it is due."""

from services.allocation.handlers.holding import settle
from services.allocation.store.due import find_due, hold_subscription
from services.allocation.store.subscriptions import lock_subscription
from shared.events.ids import SubscriptionId
from shared.runtime.delivery import Transaction


async def settle_if_due(tx: Transaction, subscription: SubscriptionId) -> bool:
    """Bring a subscription up to date, if that is due and nobody else is at it; whether it was done."""
    if not await hold_subscription(tx.connection, subscription):
        return False
    due = await find_due(tx.connection, subscription)
    if not due.is_now(tx.now):
        return False
    found = await lock_subscription(tx.connection, subscription)
    if found is None:
        return False
    await settle(tx, found, due)
    return True
