"""Plans, the only command that changes allocations.

It is frequent, so plans of a batch are decided together.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from services.allocation.domain import advance, plans, refusals
from services.allocation.domain.floor import is_behind
from services.allocation.domain.permissions import Action
from services.allocation.domain.subscriptions import Subscription
from services.allocation.handlers.context import Context
from services.allocation.handlers.publishing import publish
from services.allocation.handlers.subscription_lock import judge, lock_for
from services.allocation.store.due_work import bring_forward
from services.allocation.store.plans import SavedPlan, save_plans
from services.allocation.store.subscriptions import try_lock_subscriptions
from shared.events.allocation import PlanApplied
from shared.events.commands.plans import ApplyPlan
from shared.events.envelope import Event
from shared.events.ids import SubscriptionId
from shared.events.refusals import Refusal
from shared.runtime.commands.decisions import Decision, Planned, Postponed, Refused
from shared.runtime.delivery.transaction import Transaction

Locked = Mapping[SubscriptionId, Subscription]


@dataclass(frozen=True, slots=True)
class PlanHandler:
    """Applies plans, or previews them.

    ``wait_seconds``: how long a plan waits for the consumption that its requester was shown.
    """

    wait_seconds: float

    async def __call__(self, tx: Transaction, command: Event[ApplyPlan]) -> Decision:
        """Decide one plan, after its subscription was brought up to date."""
        found = await lock_for(_action(command), tx, command, command.data.subscription)
        if not isinstance(found, tuple):
            return found
        planned = self._plan(*found, command, tx.now)
        if planned.change is not None:
            await self.save(tx, [planned.change])
        for subject, event in planned.events:
            await publish(tx, subject, event)
        return planned.decision

    def subject(self, command: Event[ApplyPlan]) -> SubscriptionId:
        """Return the subscription of the plan."""
        return command.data.subscription

    async def prefetch(self, tx: Transaction, commands: Sequence[Event[ApplyPlan]]) -> Locked:
        """Lock and load the subscriptions that no other transaction has locked."""
        return await try_lock_subscriptions(tx.connection, sorted(command.data.subscription for command in commands))

    def decide(self, command: Event[ApplyPlan], prefetched: Locked, now: datetime) -> Planned[SavedPlan] | None:
        """Decide a plan of a batch; ``None`` if it must be decided alone.

        That is so if its subscription is missing, locked, or must be brought up to date first.
        """
        found = prefetched.get(command.data.subscription)
        if found is None or advance.is_behind(found, now):
            return None
        subscription = found.at(now)
        judged = judge(_action(command), command, subscription)
        return Planned(judged) if isinstance(judged, Refused) else self._plan(judged, subscription, command, now)

    async def save(self, tx: Transaction, changes: Sequence[SavedPlan]) -> None:
        """Save the changes of the plans."""
        await save_plans(tx.connection, changes)
        for change in changes:
            await bring_forward(tx.connection, change.after, advance.next_due(change.after, tx.now))

    def _plan(
        self, context: Context, subscription: Subscription, command: Event[ApplyPlan], now: datetime
    ) -> Planned[SavedPlan]:
        """Decide on a subscription that is up to date, for an authorised actor."""
        asked = command.data
        if asked.preview:
            context = Context("preview-plan", context.object, context.account, context.subscription)
        before = _allocations(subscription)
        if is_behind(asked.seen, subscription.measured, subscription.state, now):
            unavailable = context.refused(refusals.unavailable(self.wait_seconds), before=before)
            return Planned(Postponed(unavailable, self.wait_seconds))
        consumptions = subscription.consumptions_at(now)
        decided = plans.decide(subscription, asked, consumptions, now)
        if isinstance(decided, Refusal):
            return Planned(context.refused(decided, before=before))
        concluded = advance.conclude(decided.before, decided.after, now)
        shown = subscription if asked.preview else concluded.subscription
        decision = context.accepted(
            shown.state.id,
            shown.state.version,
            before=before,
            after=_allocations(decided.after),
            result=decided.result(consumptions, now, preview=asked.preview),
            reason=asked.override_reason,
        )
        if asked.preview:
            return Planned(decision)
        applied = PlanApplied(
            subscription=shown.state,
            kind=decided.kind,
            changes=decided.changes,
            starts_clock=decided.starts_clock,
            accept_overage=asked.accept_overage,
            override_reason=asked.override_reason,
        )
        change = SavedPlan(decided.before, shown, applied, str(command.actor), UUID(command.id), now)
        return Planned(decision, change, [(shown.state.id, event) for event in (applied, *concluded.events)])


def _action(command: Event[ApplyPlan]) -> Action:
    return "override-plan" if command.data.override_reason is not None else "apply-plan"


def _allocations(subscription: Subscription) -> dict[str, int]:
    return {one.product: one.allocated for one in subscription.state.active_products}
