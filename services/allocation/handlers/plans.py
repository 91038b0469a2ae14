"""Plans: the one command that changes allocations."""

import asyncio
from collections import defaultdict
from typing import Final
from uuid import UUID

from services.allocation.domain import plans, refusals
from services.allocation.domain.floor import Measured, consumption_at, is_behind
from services.allocation.domain.plans import Consumptions, Decided
from services.allocation.domain.subscriptions import Subscription
from services.allocation.handlers.deciding import Matter
from services.allocation.handlers.subscriptions import lock_for, tell
from services.allocation.store.allocations import update_units
from services.allocation.store.consumption import load_consumption
from services.allocation.store.plans import Origin, insert_plan
from services.allocation.store.subscriptions import update_subscription
from shared.events.allocation import PlanApplied
from shared.events.commands import ApplyPlan
from shared.events.envelope import Event
from shared.events.ids import ProductId
from shared.events.refusals import Refusal
from shared.runtime.delivery import Transaction
from shared.runtime.inbox import Decision, Refused

LOOK_SECONDS: Final = 0.05


async def apply_plan(tx: Transaction, command: Event[ApplyPlan], wait_seconds: float) -> Decision:
    """Change allocations, or say what would happen. Waits for the consumption that the asker was shown, so long."""
    asked = command.data
    found = await lock_for(
        "override-plan" if asked.override_reason is not None else "apply-plan", tx, command, asked.subscription
    )
    if isinstance(found, Refused):
        return found
    matter, subscription = found
    if asked.preview:
        matter = Matter("preview-plan", matter.object, matter.account, matter.subscription)
    before = _allocations(subscription)
    measured = await _measured(tx, asked, subscription, wait_seconds)
    if measured is None:
        return matter.refused(refusals.unavailable(wait_seconds), before=before)
    consumptions = _consumptions(measured, subscription, tx)
    decided = plans.decide(subscription, asked, consumptions, tx.now)
    if isinstance(decided, Refusal):
        return matter.refused(decided, before=before)
    if not asked.preview:
        await _save(tx, command, decided)
    shown = decided.before if asked.preview else decided.after
    return matter.accepted(
        shown.state.id,
        shown.state.version,
        before=before,
        after=_allocations(decided.after),
        result=decided.result(consumptions, tx.now, preview=asked.preview),
        reason=asked.override_reason,
    )


async def _save(tx: Transaction, command: Event[ApplyPlan], decided: Decided) -> None:
    event = PlanApplied(
        subscription=decided.after.state,
        kind=decided.kind,
        changes=decided.changes,
        starts_clock=decided.starts_clock,
        accept_overage=command.data.accept_overage,
        override_reason=command.data.override_reason,
    )
    await update_units(tx.connection, decided.after, frozenset(change.product for change in decided.changes))
    await update_subscription(tx.connection, decided.after)
    await insert_plan(tx.connection, event, Origin(str(command.actor), UUID(command.id), tx.now))
    await tell(tx, decided.after, event)


async def _measured(
    tx: Transaction, asked: ApplyPlan, subscription: Subscription, wait_seconds: float
) -> list[Measured] | None:
    """What is consumed, at least as new as the asker was shown; ``None`` when that does not arrive in time.

    Each look is a statement of its own and so sees what another connection has committed since.
    """
    state = subscription.state
    looks = 1 + round(wait_seconds / LOOK_SECONDS)
    for look in range(looks):
        measured = await load_consumption(tx.connection, state.id)
        if not is_behind(asked.seen, measured, state, tx.now):
            return measured
        if look + 1 < looks:
            await asyncio.sleep(LOOK_SECONDS)
    return None


def _consumptions(measured: list[Measured], subscription: Subscription, tx: Transaction) -> Consumptions:
    by_product: dict[ProductId, list[Measured]] = defaultdict(list)
    for one in measured:
        by_product[one.product].append(one)
    return {product: consumption_at(some, subscription.state, tx.now) for product, some in by_product.items()}


def _allocations(subscription: Subscription) -> dict[str, int]:
    return {one.product: one.allocated for one in subscription.state.products}
