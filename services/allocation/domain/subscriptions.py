"""The subscription aggregate.

This is its creation and end, and the checks that all of its commands share.
"""

from dataclasses import dataclass, replace
from datetime import datetime

from services.allocation.domain import rebalance, refusals
from services.allocation.domain.floor import Consumptions, Measured, consumptions_at
from services.allocation.domain.lifecycle import FLEX, PERMITS, state_at
from services.allocation.domain.permissions import Action
from services.allocation.domain.time_limits import errors_of
from shared.events.commands.subscriptions import CreateSubscription
from shared.events.ids import PersonId, ProductId
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
    """Terms of a new subscription.

    They are stored with it, so later settings do not change it.
    """

    window_days: int = 15
    rebalance_every_days: int = 90
    rebalance_scope: RebalanceScope = "subscription"


@dataclass(frozen=True, slots=True)
class Subscription:
    """The aggregate: its state as last published, and what only allocation needs."""

    state: SubscriptionState
    flex_enabled: bool
    """Whether flexible units are enabled for its account."""
    settled_at: datetime
    """Changes by time are published up to this instant."""
    retired: frozenset[ProductId] = frozenset()
    """Its products that the vendor has retired."""
    cancelled_at: datetime | None = None
    exhausted: bool = False
    """Whether the pool was consumed when the subscription was last brought up to date."""
    measured: tuple[Measured, ...] = ()
    """Newest consumption snapshots of its products that have arrived."""
    due_at: datetime | None = None
    """When its next change without a command may be due."""
    marks: int = 0
    """How often another transaction has marked it as due."""

    def at(self, now: datetime) -> "Subscription":
        """Copy with the term, lifecycle and next rebalance as of ``now``."""
        state = self.state
        clock = state.rebalance.model_copy(update={"next_allowed_at": self.next_rebalance_at(now)})
        term, lifecycle = state.term_at(now), self.lifecycle_at(now)
        return replace(self, state=state.model_copy(update={"state": lifecycle, "term": term, "rebalance": clock}))

    def lifecycle_at(self, now: datetime) -> Lifecycle:
        """Lifecycle state at ``now``."""
        term = self.state.term_at(now)
        return state_at(term, now, cancelled_at=self.cancelled_at, exhausted=self.exhausted)

    def is_due(self, now: datetime) -> bool:
        """Whether a change without a command may be due."""
        return self.due_at is not None and self.due_at <= now

    def next_rebalance_at(self, now: datetime) -> datetime | None:
        """When the next rebalance is allowed; ``None``: now."""
        return rebalance.next_allowed_at(self.state.rebalance, self.state.active_products, now)

    def consumptions_at(self, now: datetime) -> Consumptions:
        """Consumption by product at ``now``."""
        return consumptions_at(self.measured, self.state, now)

    def product(self, product: ProductId) -> SubscribedProduct | None:
        """Return the product if it is in use; otherwise ``None``."""
        return next((one for one in self.state.active_products if one.product == product), None)

    def refusal_for(self, action: Action, now: datetime) -> Refusal | None:
        """Return why ``action`` is refused to everyone at ``now``; ``None`` if it is not."""
        if action in FLEX and self.state.model != "flex":
            return refusals.not_a_flex_subscription()
        if action in FLEX and not self.flex_enabled:
            return refusals.feature_not_enabled(self.state.account)
        lifecycle = self.lifecycle_at(now)
        return None if action in PERMITS[lifecycle] else refusals.subscription_not_active(lifecycle)

    def changed(self, now: datetime, **changes: object) -> "Subscription":
        """Copy as the next version, with these fields of the state changed."""
        state = self.state.model_copy(update={**changes, "version": self.state.version + 1})
        return replace(self, state=state).at(now)


def create(
    command: CreateSubscription, contact: PersonId, account: AccountState, terms: Terms, now: datetime
) -> Subscription | Refusal:
    """Create a subscription without units or products.

    ``contact``: its primary contact, a person of the account.
    """
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
        primary_contact=contact,
        rebalance=RebalanceClock(every_days=terms.rebalance_every_days, scope=terms.rebalance_scope),
        version=1,
    )
    return Subscription(state, account.flex_enabled, settled_at=now).at(now)


def cancel(subscription: Subscription, now: datetime) -> Subscription | Refusal:
    """End a subscription at once. Its lots and allocations stay on record."""
    if refusal := subscription.refusal_for("cancel-subscription", now):
        return refusal
    return replace(subscription, cancelled_at=now).changed(now, cancelled_at=now)


def convert(subscription: Subscription, now: datetime) -> Subscription | Refusal:
    """Convert per-product licensing to an empty pool.

    Returns the same value if there is a pool already.
    """
    if not subscription.flex_enabled:
        return refusals.feature_not_enabled(subscription.state.account)
    if refusal := subscription.refusal_for("convert-subscription", now):
        return refusal
    return subscription if subscription.state.model == "flex" else subscription.changed(now, model="flex")
