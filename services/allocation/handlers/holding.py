"""What every command on a subscription has in common: lock it, bring it up to date, change it, tell what it led to."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from services.allocation.domain import refusals
from services.allocation.domain.advance import Advanced, advance, conclude, is_behind, next_due
from services.allocation.domain.permissions import Action, refusal_for, roles_of
from services.allocation.domain.subscriptions import Subscription
from services.allocation.handlers.deciding import Matter, actor_of
from services.allocation.handlers.telling import tell
from services.allocation.store.due import bring_forward, update_due
from services.allocation.store.subscriptions import (
    is_subscription,
    save_subscription,
    try_lock_subscription,
    try_lock_subscriptions,
)
from shared.events.commands.plans import ApplyPlan
from shared.events.commands.subscriptions import SubscriptionCommand
from shared.events.envelope import Event, Payload
from shared.events.ids import SubscriptionId
from shared.events.outcomes import AuditRecord
from shared.events.state import SubscriptionState
from shared.runtime.commands.inbox import Postponed, Refused
from shared.runtime.delivery.transaction import Transaction

P = TypeVar("P", bound=Payload)

SYSTEM = "system"
"""The actor of what happens by itself."""
BUSY_SECONDS = 10.0
"""How long a command waits for a subscription that somebody else has. They have it for milliseconds."""


async def prepare(tx: Transaction, commands: Sequence[Event[Any]]) -> None:
    """Lock and load the subscriptions of a batch of plans together; each is there for the first command on it.

    Not where there are other commands: they may change what was loaded of a subscription that is not theirs.
    """
    plans = [command.data for command in commands if isinstance(command.data, ApplyPlan)]
    if len(plans) == len(commands) > 1:
        tx.prepared.update(await try_lock_subscriptions(tx.connection, sorted({plan.subscription for plan in plans})))


async def lock_for(
    action: Action, tx: Transaction, command: Event[Any], subscription: SubscriptionId
) -> tuple[Matter, Subscription] | Refused | Postponed:
    """The subscription, locked and up to date, for someone who may do ``action`` on it.

    Where somebody else has it, the command is put aside: commands on other subscriptions must not wait for that.
    """
    found: Subscription | None = tx.prepared.pop(subscription, None)
    if found is None:
        await tx.write_gathered()
        found = await try_lock_subscription(tx.connection, subscription)
    matter = Matter(action, f"subscription/{subscription}", subscription=subscription)
    if found is None and await is_subscription(tx.connection, subscription):
        return Postponed(matter.refused(refusals.busy()), BUSY_SECONDS)
    if found is None:
        return matter.refused(refusals.not_found("subscription"))
    matter = Matter(action, matter.object, found.state.account, subscription)
    roles = roles_of(actor_of(command), found.state)
    if refusal := refusal_for(action, roles, what="subscription"):
        return matter.refused(refusal)
    found = await bring_up_to_date(tx, found)
    expected = command.data.expected_version if isinstance(command.data, SubscriptionCommand) else None
    if expected is not None and expected != found.state.version:
        return matter.refused(refusals.stale_version(expected, found.state.version))
    return matter, found


async def bring_up_to_date(tx: Transaction, found: Subscription) -> Subscription:
    """A subscription that is locked, as it is now; what has happened to it by itself is kept, told and audited.

    Unless the command for which this is done is refused: then it is done when it is looked at next.
    """
    if not is_behind(found, tx.now):
        return found.at(tx.now)
    advanced = advance(found, tx.now)
    await tx.protect()
    await save_subscription(tx.connection, found, advanced.subscription)
    due_at = next_due(advanced.subscription, tx.now)
    await update_due(tx.connection, found, due_at)
    cause, tx.cause = tx.cause, None  # nobody's command has done this
    try:
        await _tell_all(tx, advanced)
        for event in advanced.events:
            await tx.audit(_audit_record(tx, found, event))
    finally:
        tx.cause = cause
    return replace(advanced.subscription, due_at=due_at)


async def carry_out(
    tx: Transaction,
    before: Subscription,
    after: Subscription,
    event: Callable[[SubscriptionState], P],
    save: Callable[[Subscription, P], Awaitable[None]] | None = None,
) -> Subscription:
    """Keep and tell a command's change, and what it leads to at once; the subscription as it is then.

    ``save``: what keeps it together with more, given the subscription and what is told.
    """
    concluded = conclude(before, after, tx.now)
    done = concluded.subscription
    told = event(done.state)
    if save is None:
        await save_subscription(tx.connection, before, done)
    else:
        await save(done, told)
    await bring_forward(tx.connection, done, next_due(done, tx.now))
    await tell(tx, done.state.id, told)
    await _tell_all(tx, concluded)
    return done


async def _tell_all(tx: Transaction, advanced: Advanced) -> None:
    for event in advanced.events:
        await tell(tx, advanced.subscription.state.id, event)


def _audit_record(tx: Transaction, before: Subscription, event: Any) -> AuditRecord:
    state: SubscriptionState = event.subscription
    return AuditRecord(
        at=tx.now,
        account=state.account,
        subscription=state.id,
        actor=SYSTEM,
        action=event.event_type.removeprefix("unitpool.allocation.").removesuffix(".v1"),
        object=f"subscription/{state.id}",
        before={"version": before.state.version, "state": before.state.state},
        after=event.model_dump(mode="json", exclude={"subscription"})
        | {"version": state.version, "state": state.state},
        outcome="allowed",
        reason="by itself",
    )
