"""Commands on prices."""

from typing import Final

from services.allocation.domain import prices
from services.allocation.domain.permissions import refusal_for, roles_of
from services.allocation.handlers.context import Context, actor_of
from services.allocation.handlers.publishing import publish
from services.allocation.store.prices import insert_price_list, lock_price_list
from shared.events.allocation import PriceListChanged
from shared.events.commands.catalogue import SetPriceList
from shared.events.envelope import Event
from shared.events.refusals import Refusal
from shared.runtime.commands.decisions import Decision
from shared.runtime.delivery.transaction import Transaction

PRICE_LIST: Final = "price-list"
"""There is one: its id, and the subject of what is told of it."""


async def set_price_list(tx: Transaction, command: Event[SetPriceList]) -> Decision:
    """Set what units cost from now on. A list that holds already changes nothing."""
    context = Context("set-price-list", PRICE_LIST)
    if refusal := refusal_for("set-price-list", roles_of(actor_of(command), None), what="price list"):
        return context.refused(refusal)
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
