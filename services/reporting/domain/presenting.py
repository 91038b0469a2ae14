"""Rows as the API shows them."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from services.reporting.domain import permissions
from services.reporting.domain.caller import Caller
from services.reporting.domain.money import arithmetic
from shared.events.alerts import AlertState, ChannelState, shown_address
from shared.events.outcomes import CommandDecided
from shared.events.state import PersonState, Price, SubscriptionState
from shared.units import percent_tenths
from shared.windows import days_left

Body = dict[str, Any]


def me(caller: Caller, subscriptions: Iterable[SubscriptionState]) -> Body:
    """The body of ``GET /v1/me``."""
    mine = []
    for one in subscriptions:
        roles = permissions.roles_of(caller, one)
        allowed = list(permissions.permissions_of(roles))
        mine.append({"id": one.id, "account": one.account, "name": one.name, "role": roles[0], "permissions": allowed})
    return {"email": caller.email, "name": caller.name, "vendor": caller.vendor, "subscriptions": mine}


def summary(state: SubscriptionState, now: datetime) -> Body:
    """A subscription in a list."""
    term, purchased = state.term_at(now), state.purchased(now)
    return {
        "id": state.id,
        "account": state.account,
        "name": state.name,
        "model": state.model,
        "state": state.state,
        "unit_label": state.unit_label,
        "version": state.version,
        "term": {"start": term.start, "end": term.end, "days_left": days_left(term.end, now)},
        "primary_contact": state.primary_contact.model_dump(),
        "purchased": purchased,
        "allocated": state.allocated,
        "unallocated": max(0, purchased - state.allocated),
        "over_allocated": max(0, state.allocated - purchased),
    }


def lots(state: SubscriptionState, now: datetime) -> list[Body]:
    """The purchase lots, newest first; ``valid`` where one counts now."""
    valid = {one.id for one in state.lots_at(now)}
    return [
        {**one.model_dump(exclude={"price"}), "valid": one.id in valid, "price": price(one.units, one.price)}
        for one in sorted(state.lots, key=lambda one: (one.purchased_at, one.id), reverse=True)
    ]


def price(units: int, paid: Price | None) -> Body | None:
    """A price with its arithmetic in one line; ``None`` where there was no price list."""
    if paid is None:
        return None
    return {**paid.model_dump(), "arithmetic": arithmetic(units, paid)}


def person(state: PersonState, grants: Iterable[tuple[str, str]]) -> Body:
    """Someone of an account, and what they were given: subscription and role."""
    given = [{"subscription": subscription, "role": role} for subscription, role in grants]
    return {**state.model_dump(), "subscriptions": given}


def granted(state: SubscriptionState, email: str, person: PersonState | None) -> Body:
    """What a delegate was given."""
    return {
        "subscription": state.id,
        "email": email,
        "name": person.name if person else None,
        "grants": [one.grant for one in state.grants if one.email == email],
    }


class ChangeRow(Protocol):
    """A row of the history of allocations."""

    @property
    def product(self) -> str: ...
    @property
    def at(self) -> datetime: ...
    @property
    def kind(self) -> str: ...
    @property
    def before(self) -> int: ...
    @property
    def after(self) -> int: ...
    @property
    def actor(self) -> str | None: ...
    @property
    def reason(self) -> str | None: ...
    @property
    def starts_clock(self) -> bool: ...
    @property
    def version(self) -> int: ...


def change(row: ChangeRow) -> Body:
    """One product's allocation before and after."""
    return {
        "product": row.product,
        "before": row.before,
        "after": row.after,
        "at": row.at,
        "actor": row.actor,
        "kind": row.kind,
        "reason": row.reason,
        "starts_clock": row.starts_clock,
        "version": row.version,
    }


def alert(state: AlertState, overview: Mapping[str, Any]) -> Body:
    """An alert with the value that raised it, and the value now."""
    return {
        "id": state.id,
        "rule": state.rule,
        "scope": state.scope,
        "product": state.product,
        "severity": state.severity,
        "threshold": state.threshold,
        "value_at": float(state.value_at),
        "value_now": value_now(state, overview),
        "raised_at": state.raised_at,
        "state": state.state,
        "acknowledged_by": state.acknowledged_by,
        "acknowledged_at": state.acknowledged_at,
        "message": state.message,
        "actions": list(state.actions),
    }


def value_now(state: AlertState, overview: Mapping[str, Any]) -> float | None:
    """The share that the alert's rule watches, as a percentage, as it is now."""
    if state.rule in {"pool_allocation", "pool_over_allocated"}:
        tenths = percent_tenths(overview["allocated"], overview["purchased"])
    elif state.scope == "pool":
        tenths = percent_tenths(overview["consumed"], overview["purchased"])
    else:
        product = next((one for one in overview["products"] if one["product"] == state.product), None)
        tenths = percent_tenths(product["consumed"], product["allocated"]) if product else None
    return None if tenths is None else tenths / 10


def channel(state: ChannelState) -> Body:
    """Where alerts go; of the address, which is a secret, its host and end. Old states hold the whole of it."""
    return {
        "id": state.id,
        "kind": state.kind,
        "url": shown_address(state.url),
        "created_by": state.created_by,
        "created_at": state.created_at,
    }


class SentRow(Protocol):
    """A command that was sent."""

    @property
    def command_id(self) -> UUID: ...
    @property
    def command(self) -> str: ...
    @property
    def subscription(self) -> str | None: ...
    @property
    def sent_at(self) -> datetime: ...
    @property
    def outcome(self) -> CommandDecided | None: ...


def command(sent: SentRow) -> Body:
    """A command and what became of it."""
    outcome = sent.outcome
    status = "pending" if outcome is None else "accepted" if outcome.accepted else "refused"
    return {
        "command_id": str(sent.command_id),
        "command": sent.command,
        "subscription": sent.subscription,
        "sent_at": sent.sent_at,
        "status": status,
        "decided_at": outcome.decided_at if outcome else None,
        "resource": outcome.resource if outcome else None,
        "version": outcome.version if outcome else None,
        "result": outcome.result if outcome else None,
        "refusal": outcome.refusal.model_dump() if outcome and outcome.refusal else None,
    }
