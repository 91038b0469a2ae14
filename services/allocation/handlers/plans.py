"""Plans: the one command that changes allocations."""

from uuid import UUID

from services.allocation.domain import plans, refusals
from services.allocation.domain.floor import is_behind
from services.allocation.domain.plans import Decided
from services.allocation.domain.subscriptions import Subscription
from services.allocation.handlers.deciding import Matter
from services.allocation.handlers.holding import carry_out, lock_for
from services.allocation.store.plans import Kept, save_plans
from shared.events.allocation import PlanApplied
from shared.events.commands.plans import ApplyPlan
from shared.events.envelope import Event
from shared.events.refusals import Refusal
from shared.events.state import SubscriptionState
from shared.runtime.commands.inbox import Decision, Postponed
from shared.runtime.delivery.transaction import Transaction


async def apply_plan(tx: Transaction, command: Event[ApplyPlan], wait_seconds: float) -> Decision:
    """Change allocations, or say what would happen. Waits for the consumption that the asker was shown, so long."""
    asked = command.data
    found = await lock_for(
        "override-plan" if asked.override_reason is not None else "apply-plan", tx, command, asked.subscription
    )
    if not isinstance(found, tuple):
        return found
    matter, subscription = found
    if asked.preview:
        matter = Matter("preview-plan", matter.object, matter.account, matter.subscription)
    before = _allocations(subscription)
    if is_behind(asked.seen, subscription.measured, subscription.state, tx.now):
        return Postponed(matter.refused(refusals.unavailable(wait_seconds), before=before), wait_seconds)
    consumptions = subscription.consumptions_at(tx.now)
    decided = plans.decide(subscription, asked, consumptions, tx.now)
    if isinstance(decided, Refusal):
        return matter.refused(decided, before=before)
    shown = subscription if asked.preview else await _apply(tx, command, decided)
    return matter.accepted(
        shown.state.id,
        shown.state.version,
        before=before,
        after=_allocations(decided.after),
        result=decided.result(consumptions, tx.now, preview=asked.preview),
        reason=asked.override_reason,
    )


async def _apply(tx: Transaction, command: Event[ApplyPlan], decided: Decided) -> Subscription:
    def applied(state: SubscriptionState) -> PlanApplied:
        return PlanApplied(
            subscription=state,
            kind=decided.kind,
            changes=decided.changes,
            starts_clock=decided.starts_clock,
            accept_overage=command.data.accept_overage,
            override_reason=command.data.override_reason,
        )

    async def save(after: Subscription, plan: PlanApplied) -> None:
        kept = Kept(decided.before, after, plan, str(command.actor), UUID(command.id), tx.now)
        tx.gather(save_plans, kept)

    return await carry_out(tx, decided.before, decided.after, applied, save)


def _allocations(subscription: Subscription) -> dict[str, int]:
    return {one.product: one.allocated for one in subscription.state.active_products}
