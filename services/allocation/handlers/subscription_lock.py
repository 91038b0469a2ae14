"""The steps around every command on a subscription.

It is locked and brought up to date, and its change is saved and published.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import wraps
from typing import Any, TypeVar

from services.allocation.domain import refusals
from services.allocation.domain.advance import Advanced, advance, conclude, is_behind, next_due
from services.allocation.domain.permissions import Action, refusal_for, roles_of
from services.allocation.domain.subscriptions import Subscription
from services.allocation.handlers.context import Context, actor_of
from services.allocation.handlers.publishing import publish
from services.allocation.store.due_work import bring_forward, update_due
from services.allocation.store.subscriptions import (
    is_subscription,
    save_subscription,
    try_lock_subscription,
)
from shared.events.commands.subscriptions import SubscriptionCommand
from shared.events.envelope import Event, Payload
from shared.events.ids import SubscriptionId
from shared.events.outcomes import SYSTEM, AuditRecord
from shared.events.refusals import Refusal
from shared.events.state import SubscriptionState
from shared.runtime.commands.decisions import CommandHandler, Decision, Postponed, Refused
from shared.runtime.delivery.transaction import Transaction

C = TypeVar("C", bound=SubscriptionCommand)
SubscriptionHandler = Callable[[Transaction, Event[C], Context, Subscription], Awaitable[Decision]]

BUSY_SECONDS = 10.0
"""Longest wait of a command for a locked subscription, in seconds.

A lock of another transaction lasts milliseconds.
"""


def on_subscription(action: Action) -> "Callable[[SubscriptionHandler[C]], CommandHandler]":
    """Run a handler with the subscription that its command names.

    The subscription is locked and up to date, and the command's actor is authorised. Otherwise the command is refused
    or postponed without the handler.
    """

    def decorate(handle: "SubscriptionHandler[C]") -> CommandHandler:
        @wraps(handle)
        async def handler(tx: Transaction, command: Event[C]) -> Decision:
            found = await lock_for(action, tx, command, command.data.subscription)
            return await handle(tx, command, *found) if isinstance(found, tuple) else found

        return handler

    return decorate


async def lock_for(
    action: Action, tx: Transaction, command: Event[Any], subscription: SubscriptionId
) -> tuple[Context, Subscription] | Refused | Postponed:
    """Lock a subscription for a command, and bring it up to date.

    The command is refused if its actor may not do ``action`` on it. If another transaction has locked the subscription,
    the command is postponed, so that other subscriptions' commands do not wait.
    """
    found = await try_lock_subscription(tx.connection, subscription)
    context = Context(action, f"subscription/{subscription}", subscription=subscription)
    if found is None and await is_subscription(tx.connection, subscription):
        return Postponed(context.refused(refusals.busy()), BUSY_SECONDS)
    if found is None:
        return context.refused(Refusal.not_found("subscription"))
    if isinstance(refused := _authorise(action, command, found), Refused):
        return refused
    found = await bring_up_to_date(tx, found)
    judged = judge(action, command, found)
    return judged if isinstance(judged, Refused) else (judged, found)


def judge(action: Action, command: Event[Any], found: Subscription) -> Context | Refused:
    """Return the command's context, or why the command is refused.

    It is refused if its actor may not do ``action``, or if it expects another version.
    """
    context = _authorise(action, command, found)
    expected = command.data.expected_version if isinstance(command.data, SubscriptionCommand) else None
    if isinstance(context, Context) and expected is not None and expected != found.state.version:
        return context.refused(refusals.stale_version(expected, found.state.version))
    return context


def _authorise(action: Action, command: Event[Any], found: Subscription) -> Context | Refused:
    subscription = found.state.id
    context = Context(action, f"subscription/{subscription}", found.state.account, subscription)
    refusal = refusal_for(action, roles_of(actor_of(command), found.state), what="subscription")
    return context.refused(refusal) if refusal else context


async def bring_up_to_date(tx: Transaction, found: Subscription) -> Subscription:
    """Save, publish and audit due changes of a locked subscription.

    Returns the subscription. If the command is then refused, this is rolled back, and the due work repeats it later.
    """
    if not is_behind(found, tx.now):
        return found.at(tx.now)
    advanced = advance(found, tx.now)
    await save_subscription(tx.connection, found, advanced.subscription)
    due_at = next_due(advanced.subscription, tx.now)
    await update_due(tx.connection, found, due_at)
    cause, tx.cause = tx.cause, None  # the command did not cause these events
    try:
        await _publish_all(tx, advanced)
        for event in advanced.events:
            await tx.audit(_audit_record(tx, found, event))
    finally:
        tx.cause = cause
    return replace(advanced.subscription, due_at=due_at)


async def carry_out(
    tx: Transaction, before: Subscription, after: Subscription, event: Callable[[SubscriptionState], Payload]
) -> Subscription:
    """Save and publish a command's change and what follows from it at once.

    Returns the subscription.
    """
    concluded = conclude(before, after, tx.now)
    done = concluded.subscription
    await save_subscription(tx.connection, before, done)
    await bring_forward(tx.connection, done, next_due(done, tx.now))
    await publish(tx, done.state.id, event(done.state))
    await _publish_all(tx, concluded)
    return done


async def _publish_all(tx: Transaction, advanced: Advanced) -> None:
    for event in advanced.events:
        await publish(tx, advanced.subscription.state.id, event)


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
