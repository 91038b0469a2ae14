"""A subscription as allocation holds it: how it begins and ends, and what holds for all its commands."""

from dataclasses import dataclass, replace
from datetime import datetime

from services.allocation.domain import rebalance, refusals
from services.allocation.domain.floor import Consumptions, Measured, consumptions_at
from services.allocation.domain.instants import errors_of
from services.allocation.domain.lifecycle import FLEX, PERMITS, state_at
from services.allocation.domain.permissions import Action
from shared.events.commands.subscriptions import CreateSubscription
from shared.events.ids import ProductId
from shared.events.refusals import Refusal
from shared.events.state import (
    AccountState,
    Lifecycle,
    RebalanceClock,
    RebalanceScope,
    SubscribedProduct,
    SubscriptionState,
    Term,
)


@dataclass(frozen=True, slots=True)
class Terms:
    """What the vendor grants every new subscription; kept with it, so that later terms do not change it."""

    window_days: int = 15
    rebalance_every_days: int = 90
    rebalance_scope: RebalanceScope = "subscription"


@dataclass(frozen=True, slots=True)
class Subscription:
    """The aggregate: its state as last told, and what only allocation needs to know."""

    state: SubscriptionState
    flex_enabled: bool
    """Whether its account has the feature."""
    settled_at: datetime
    """What changes with the time alone has been told up to then."""
    retired: frozenset[ProductId] = frozenset()
    """Those of its products that the vendor no longer offers."""
    cancelled_at: datetime | None = None
    exhausted: bool = False
    """The pool is consumed, as of the last look."""
    measured: tuple[Measured, ...] = ()
    """What its products consume, as far as it is known here."""
    due_at: datetime | None = None
    """When to look at it next, because something changes by itself then."""
    marks: int = 0
    """How often someone else has asked for a look."""

    def at(self, now: datetime) -> "Subscription":
        """With what follows from the time: the term in force, the lifecycle, when the next rebalance is allowed."""
        state = self.state
        clock = state.rebalance.model_copy(update={"next_allowed_at": self.next_rebalance_at(now)})
        term, lifecycle = state.term_at(now), self.lifecycle_at(now)
        return replace(self, state=state.model_copy(update={"state": lifecycle, "term": term, "rebalance": clock}))

    def lifecycle_at(self, now: datetime) -> Lifecycle:
        """Its state at ``now``."""
        term = self.state.term_at(now)
        return state_at(term, now, cancelled_at=self.cancelled_at, exhausted=self.exhausted)

    def is_due(self, now: datetime) -> bool:
        """Whether something has changed by itself, or may have."""
        return self.due_at is not None and self.due_at <= now

    def next_rebalance_at(self, now: datetime) -> datetime | None:
        """When the next rebalance is allowed; ``None``: now."""
        return rebalance.next_allowed_at(self.state.rebalance, self.state.active_products, now)

    def consumptions_at(self, now: datetime) -> Consumptions:
        """What each product consumes."""
        return consumptions_at(self.measured, self.state, now)

    def product(self, product: ProductId) -> SubscribedProduct | None:
        """What it has of ``product``, which it uses now."""
        return next((one for one in self.state.active_products if one.product == product), None)

    def refusal_for(self, action: Action, now: datetime) -> Refusal | None:
        """Why ``action`` is not possible on this subscription at ``now``, whoever asks."""
        if action in FLEX and self.state.model != "flex":
            return refusals.not_a_flex_subscription()
        if action in FLEX and not self.flex_enabled:
            return refusals.feature_not_enabled(self.state.account)
        lifecycle = self.lifecycle_at(now)
        return None if action in PERMITS[lifecycle] else refusals.subscription_not_active(lifecycle)

    def changed(self, now: datetime, **changes: object) -> "Subscription":
        """The next version, with these fields of the state."""
        state = self.state.model_copy(update={**changes, "version": self.state.version + 1})
        return replace(self, state=state).at(now)


def create(command: CreateSubscription, account: AccountState, terms: Terms, now: datetime) -> Subscription | Refusal:
    """A new subscription, without units or products."""
    if command.model == "flex" and not account.flex_enabled:
        return refusals.feature_not_enabled(account.id)
    errors = errors_of(start=command.start, end=command.end)
    if command.start >= command.end:
        errors.append(("end", "must be later than the start"))
    if errors:
        return Refusal.invalid(*errors)
    term = Term(start=command.start, end=command.end, rates_locked_at=now if command.lock_rates else None)
    state = SubscriptionState(
        id=command.subscription,
        account=command.account,
        name=command.name,
        model=command.model,
        state="pending",
        unit_label=command.unit_label,
        term=term,
        terms=(term,),
        window_days=terms.window_days,
        primary_contact=command.primary_contact,
        rebalance=RebalanceClock(every_days=terms.rebalance_every_days, scope=terms.rebalance_scope),
        version=1,
    )
    return Subscription(state, account.flex_enabled, settled_at=now).at(now)


def cancel(subscription: Subscription, now: datetime) -> Subscription | Refusal:
    """Over at once, whatever was bought. What was allocated stays on record."""
    if refusal := subscription.refusal_for("cancel-subscription", now):
        return refusal
    return replace(subscription, cancelled_at=now).changed(now, cancelled_at=now)


def convert(subscription: Subscription, now: datetime) -> Subscription | Refusal:
    """From per-product licensing to a pool, empty yet; the same value where it has one."""
    if not subscription.flex_enabled:
        return refusals.feature_not_enabled(subscription.state.account)
    if refusal := subscription.refusal_for("convert-subscription", now):
        return refusal
    return subscription if subscription.state.model == "flex" else subscription.changed(now, model="flex")
