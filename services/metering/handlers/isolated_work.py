"""Work of a task for many subscriptions, without one delaying the others.

What fails for one subscription is set aside and retried until it succeeds.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from shared.runtime.delivery.isolation import isolate
from shared.runtime.delivery.set_aside_work import SetAside
from shared.runtime.delivery.transaction import Transaction

T = TypeVar("T")


async def run_isolated(
    tx: Transaction,
    aside: SetAside,
    items: Sequence[T],
    work: Callable[[Sequence[T]], Awaitable[None]],
    *,
    key: Callable[[T], str],
    whose: Callable[[T], str],
) -> list[T]:
    """Run ``work`` for all items except those set aside until later.

    Return the items that were not done. ``key`` names an item, ``whose`` its subscription: items that fail are set
    aside together per subscription.
    """
    known = await aside.load(tx.connection, tx.now)
    waiting = frozenset(known.waiting)
    ready = [item for item in items if key(item) not in waiting]
    left = [item for item in items if key(item) in waiting]
    for failed in await isolate(tx, ready, whose, work):
        for item in failed.items:
            await aside.add(tx, key(item), failed.whose, failed.error)
        left += failed.items
    undone = {key(item) for item in left}
    if done := [name for name in map(key, ready) if name in known.due and name not in undone]:
        await aside.clear(tx.connection, done)
    return left
