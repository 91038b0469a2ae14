"""Rows as the API and the page show them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Protocol
from uuid import UUID

from services.reporting.domain import permissions
from services.reporting.domain.caller import Caller
from services.reporting.domain.money import arithmetic
from services.reporting.domain.overview import Overview, Period
from shared.events.alerts import AlertLifecycle, AlertScope, AlertState, ChannelState, Severity, shown_address
from shared.events.outcomes import CommandDecided
from shared.events.state import (
    Grant,
    Lifecycle,
    Lot,
    Person,
    PersonState,
    Price,
    SubscriptionModel,
    SubscriptionState,
)
from shared.units import percent_tenths
from shared.windows import days_left


@dataclass(frozen=True, slots=True)
class PermittedSubscription:
    """A subscription, the caller's strongest role in it, and what all their roles in it permit."""

    id: str
    account: str
    name: str
    role: str
    permissions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Me:
    """Who the caller is, what they may do, where."""

    email: str
    name: str
    vendor: bool
    subscriptions: tuple[PermittedSubscription, ...]


def me(caller: Caller, subscriptions: Iterable[SubscriptionState]) -> Me:
    """The caller, and what they may do in these subscriptions."""
    mine = []
    for one in subscriptions:
        roles = permissions.roles_of(caller, one)
        mine.append(PermittedSubscription(one.id, one.account, one.name, roles[0], permissions.permissions_of(roles)))
    return Me(caller.email, caller.name, caller.vendor, tuple(mine))


@dataclass(frozen=True, slots=True)
class SubscriptionSummary:
    """A subscription in a list."""

    id: str
    account: str
    name: str
    model: SubscriptionModel
    state: Lifecycle
    unit_label: str
    version: int
    term: Period
    primary_contact: Person
    purchased: int
    allocated: int
    unallocated: int
    over_allocated: int


def summary(state: SubscriptionState, now: datetime) -> SubscriptionSummary:
    """A subscription in a list."""
    term, purchased = state.term_at(now), state.purchased(now)
    return SubscriptionSummary(
        id=state.id,
        account=state.account,
        name=state.name,
        model=state.model,
        state=state.state,
        unit_label=state.unit_label,
        version=state.version,
        term=Period(term.start, term.end, days_left(term.end, now)),
        primary_contact=state.primary_contact,
        purchased=purchased,
        allocated=state.allocated,
        unallocated=max(0, purchased - state.allocated),
        over_allocated=max(0, state.allocated - purchased),
    )


class PaidPrice(Price):
    """A price with its arithmetic in one line."""

    arithmetic: str


@dataclass(frozen=True, slots=True)
class PurchaseLot:
    """A lot. ``valid``: it counts now. ``price`` is ``None`` where there was no price list."""

    id: str
    units: int
    start: datetime
    end: datetime
    order_reference: str
    purchased_at: datetime
    voided_at: datetime | None
    void_reason: str | None
    valid: bool
    price: PaidPrice | None


def lots(state: SubscriptionState, now: datetime) -> list[PurchaseLot]:
    """The purchase lots, newest first."""
    valid = {one.id for one in state.lots_at(now)}
    ordered = sorted(state.lots, key=lambda one: (one.purchased_at, one.id), reverse=True)
    return [_lot(one, valid=one.id in valid) for one in ordered]


def _lot(one: Lot, *, valid: bool) -> PurchaseLot:
    return PurchaseLot(
        id=one.id,
        units=one.units,
        start=one.start,
        end=one.end,
        order_reference=one.order_reference,
        purchased_at=one.purchased_at,
        voided_at=one.voided_at,
        void_reason=one.void_reason,
        valid=valid,
        price=None if one.price is None else PaidPrice(**dict(one.price), arithmetic=arithmetic(one.units, one.price)),
    )


@dataclass(frozen=True, slots=True)
class GivenRole:
    """In which subscription somebody has which role."""

    subscription: str
    role: str


class AccountPerson(PersonState):
    """Someone of an account, and what they were given."""

    subscriptions: tuple[GivenRole, ...]


def person(state: PersonState, grants: Iterable[tuple[str, str]]) -> AccountPerson:
    """Someone of an account; ``grants`` are subscriptions and roles."""
    return AccountPerson(**dict(state), subscriptions=tuple(GivenRole(*one) for one in grants))


@dataclass(frozen=True, slots=True)
class DelegateGrants:
    """What a delegate was given in a subscription."""

    subscription: str
    email: str
    name: str | None
    grants: tuple[Grant, ...]


def granted(state: SubscriptionState, email: str, person: PersonState | None) -> DelegateGrants:
    """What a delegate was given: perhaps nothing."""
    grants = tuple(one.grant for one in state.grants if one.email == email)
    return DelegateGrants(state.id, email, person.name if person else None, grants)


@dataclass(frozen=True, slots=True)
class AlertNow:
    """An alert with the percentage that raised it, and the same percentage now."""

    id: str
    rule: str
    scope: AlertScope
    product: str | None
    severity: Severity
    threshold: int
    value_at: float
    value_now: float | None
    raised_at: datetime
    state: AlertLifecycle
    acknowledged_by: str | None
    acknowledged_at: datetime | None
    message: str
    actions: tuple[str, ...]


def alert(state: AlertState, overview: Overview) -> AlertNow:
    """An alert, as its subscription is now."""
    return AlertNow(
        id=state.id,
        rule=state.rule,
        scope=state.scope,
        product=state.product,
        severity=state.severity,
        threshold=state.threshold,
        value_at=float(state.value_at),
        value_now=value_now(state, overview),
        raised_at=state.raised_at,
        state=state.state,
        acknowledged_by=state.acknowledged_by,
        acknowledged_at=state.acknowledged_at,
        message=state.message,
        actions=state.actions,
    )


def value_now(state: AlertState, overview: Overview) -> float | None:
    """The share that the alert's rule watches, as a percentage, as it is now."""
    if state.rule in {"pool_allocation", "pool_over_allocated"}:
        tenths = percent_tenths(overview.allocated, overview.purchased)
    elif state.scope == "pool":
        tenths = percent_tenths(overview.consumed, overview.purchased)
    else:
        product = overview.product(state.product)
        tenths = percent_tenths(product.consumed, product.allocated) if product else None
    return None if tenths is None else tenths / 10


@dataclass(frozen=True, slots=True)
class ShownChannel:
    """Where alerts go; of the address, which is a secret, its host and end."""

    id: str
    kind: Literal["webhook"]
    url: str
    created_by: str
    created_at: datetime


def channel(state: ChannelState) -> ShownChannel:
    """A channel without its secrets: old states hold the whole address."""
    return ShownChannel(state.id, state.kind, shown_address(state.url), state.created_by, state.created_at)


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


@dataclass(frozen=True, slots=True)
class CommandStatus:
    """A command and what became of it. ``result`` and ``refusal`` are JSON, as the command's owner wrote them."""

    command_id: str
    command: str
    subscription: str | None
    sent_at: datetime
    status: Literal["pending", "accepted", "refused"]
    decided_at: datetime | None = None
    resource: str | None = None
    version: int | None = None
    result: Mapping[str, Any] | None = None
    refusal: Mapping[str, Any] | None = None


def command(sent: SentRow) -> CommandStatus:
    """A command and what became of it."""
    outcome, id = sent.outcome, str(sent.command_id)  # noqa: A001
    if outcome is None:
        return CommandStatus(id, sent.command, sent.subscription, sent.sent_at, "pending")
    return CommandStatus(
        command_id=id,
        command=sent.command,
        subscription=sent.subscription,
        sent_at=sent.sent_at,
        status="accepted" if outcome.accepted else "refused",
        decided_at=outcome.decided_at,
        resource=outcome.resource,
        version=outcome.version,
        result=outcome.result,
        refusal=outcome.refusal.model_dump() if outcome.refusal else None,
    )
