"""Commands on prices."""

from typing import Final

from services.allocation.domain import prices
from services.allocation.handlers.context import Context
from services.allocation.handlers.preconditions import by_vendor
from services.allocation.handlers.publishing import publish
from services.allocation.store.prices import insert_price_list, lock_price_list
from shared.events.allocation import PriceListChanged
from shared.events.commands.catalogue import SetPriceList
from shared.events.envelope import Event
from shared.events.refusals import Refusal
from shared.runtime.commands.decisions import Decision
from shared.runtime.delivery.transaction import Transaction

PRICE_LIST: Final = "price-list"
"""The id of the only price list, and the subject of its events."""


@by_vendor("set-price-list", lambda _: PRICE_LIST, what="price list")
async def set_price_list(tx: Transaction, command: Event[SetPriceList], context: Context) -> Decision:
    """Set the price of units from now on.

    Setting the list that is in force changes nothing.
    """
    before = await lock_price_list(tx.connection)
    after = prices.set_price_list(before, command.data)
    if isinstance(after, Refusal):
        return context.refused(after)
    if after is not before:
        await insert_price_list(tx.connection, after, tx.now)
        await publish(tx, PRICE_LIST, PriceListChanged(price_list=after))
    return context.accepted(
        PRICE_LIST,
        after.version,
        before=before.model_dump(mode="json") if before else None,
        after=after.model_dump(mode="json"),
    )
