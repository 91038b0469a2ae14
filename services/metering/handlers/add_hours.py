"""Addition of usage to hours, many batches at a time.

A subscription for which that fails is set aside.
"""

from collections.abc import Sequence

from services.metering.domain.catalogue import Catalogue
from services.metering.handlers.isolated_work import run_isolated
from services.metering.store import hours
from services.metering.store.hours import Due
from shared.runtime.delivery.isolation import concerns_one
from shared.runtime.delivery.set_aside_work import SetAside
from shared.runtime.delivery.transaction import Transaction

WORK = "hours"


async def add_due_batches(tx: Transaction, catalogue: Catalogue) -> bool:
    """Add the due hours of at most ``AT_ONCE`` batches.

    Return whether there may be more. If the statement fails because of some subscriptions, their hours are set aside
    and the others are added.
    """
    aside = SetAside(WORK)
    due = await hours.lock_due(tx.connection, WORK, tx.now)
    if not due:
        return False
    try:
        async with tx.savepoint():
            await hours.add_due(tx.connection, due)
            await aside.clear(tx.connection, [str(one.id) for one in due])
    except Exception as error:
        if not concerns_one(error):
            raise
        await _add_by_subscription(tx, catalogue, aside, due)
    return len(due) == hours.AT_ONCE


async def _add_by_subscription(tx: Transaction, catalogue: Catalogue, aside: SetAside, due: Sequence[Due]) -> None:
    owners = await hours.split_due_by_subscription(tx.connection, due)
    days = tuple(sorted({day for one in due for day in one.days}))

    await run_isolated(
        tx,
        aside,
        [Due(number, days) for number in sorted(owners)],
        lambda some: hours.add_due(tx.connection, some),
        key=lambda one: str(one.id),
        whose=lambda one: catalogue.name_of(owners[one.id]),
    )
