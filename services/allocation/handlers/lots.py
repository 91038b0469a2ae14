"""Commands on purchase lots."""

from services.allocation.domain import lots
from services.allocation.domain.subscriptions import Subscription
from services.allocation.handlers.context import Context
from services.allocation.handlers.subscription_lock import carry_out, on_subscription
from services.allocation.store.prices import find_price_list
from shared.events.allocation import LotPurchased, LotVoided
from shared.events.commands.subscriptions import PurchaseLot, VoidLot
from shared.events.envelope import Event
from shared.events.refusals import Refusal
from shared.runtime.commands.decisions import Decision
from shared.runtime.delivery.transaction import Transaction


@on_subscription("purchase-lot")
async def purchase_lot(
    tx: Transaction, command: Event[PurchaseLot], context: Context, before: Subscription
) -> Decision:
    """Sell units to a subscription."""
    bought = lots.purchase(before, command.data, tx.now, await find_price_list(tx.connection))
    if isinstance(bought, Refusal):
        return context.refused(bought)
    after, lot = bought
    done = await carry_out(tx, before, after, lambda it: LotPurchased(subscription=it, lot=lot))
    return context.accepted(
        done.state.id,
        done.state.version,
        before={"purchased": before.state.purchased(tx.now)},
        after={"purchased": done.state.purchased(tx.now), "lot": lot.model_dump(mode="json")},
    )


@on_subscription("void-lot")
async def void_lot(tx: Transaction, command: Event[VoidLot], context: Context, before: Subscription) -> Decision:
    """Void a wrong purchase: its units no longer count, and it stays on record."""
    asked = command.data
    voided = lots.void(before, asked, tx.now)
    if isinstance(voided, Refusal):
        return context.refused(voided)
    after, lot = voided
    done = await carry_out(tx, before, after, lambda it: LotVoided(subscription=it, lot=lot.id, reason=asked.reason))
    return context.accepted(
        done.state.id,
        done.state.version,
        before={"purchased": before.state.purchased(tx.now)},
        after={"purchased": done.state.purchased(tx.now), "lot": lot.model_dump(mode="json")},
        reason=asked.reason,
    )
