"""Commands on purchase lots."""

from services.allocation.domain import lots
from services.allocation.handlers.holding import carry_out, lock_for
from services.allocation.store.prices import find_price_list
from shared.events.allocation import LotPurchased, LotVoided
from shared.events.commands.subscriptions import PurchaseLot, VoidLot
from shared.events.envelope import Event
from shared.events.refusals import Refusal
from shared.runtime.commands.inbox import Decision
from shared.runtime.delivery.transaction import Transaction


async def purchase_lot(tx: Transaction, command: Event[PurchaseLot]) -> Decision:
    """Sell units to a subscription."""
    found = await lock_for("purchase-lot", tx, command, command.data.subscription)
    if not isinstance(found, tuple):
        return found
    matter, before = found
    bought = lots.purchase(before, command.data, tx.now, await find_price_list(tx.connection))
    if isinstance(bought, Refusal):
        return matter.refused(bought)
    after, lot = bought
    done = await carry_out(tx, before, after, lambda it: LotPurchased(subscription=it, lot=lot))
    return matter.accepted(
        done.state.id,
        done.state.version,
        before={"purchased": before.state.purchased(tx.now)},
        after={"purchased": done.state.purchased(tx.now), "lot": lot.model_dump(mode="json")},
    )


async def void_lot(tx: Transaction, command: Event[VoidLot]) -> Decision:
    """Take a wrong purchase back: its units count no longer, it stays on record."""
    asked = command.data
    found = await lock_for("void-lot", tx, command, asked.subscription)
    if not isinstance(found, tuple):
        return found
    matter, before = found
    voided = lots.void(before, asked, tx.now)
    if isinstance(voided, Refusal):
        return matter.refused(voided)
    after, lot = voided
    done = await carry_out(tx, before, after, lambda it: LotVoided(subscription=it, lot=lot.id, reason=asked.reason))
    return matter.accepted(
        done.state.id,
        done.state.version,
        before={"purchased": before.state.purchased(tx.now)},
        after={"purchased": done.state.purchased(tx.now), "lot": lot.model_dump(mode="json")},
        reason=asked.reason,
    )
