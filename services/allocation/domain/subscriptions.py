"""A subscription as allocation holds it: how it begins, the products it uses, and what holds for all its commands."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from services.allocation.domain import rebalance, refusals
from services.allocation.domain.instants import errors_of
from services.allocation.domain.lifecycle import FLEX, PERMITS, state_at
from services.allocation.domain.permissions import Action
from shared.events.commands import CreateSubscription
from shared.events.ids import ProductId
from shared.events.refusals import Refusal
from shared.events.state import (
    AccountState,
    OveragePolicy,
    ProductState,
    RebalanceClock,
    RebalanceScope,
    SubscribedProduct,
    SubscriptionState,
    Term,
)

MAX_PRODUCTS: Final = 1000


@dataclass(frozen=True, slots=True)
class Terms:
    """What the vendor grants every new subscription; kept with it, so that later terms do not change it."""

    window_days: int = 15
    rebalance_every_days: int = 90
    rebalance_scope: RebalanceScope = "subscription"


@dataclass(frozen=True, slots=True)
class Subscription:
    """The aggregate: its state, and what only allocation needs to know."""

    state: SubscriptionState
    flex_enabled: bool
    """Whether its account has the feature."""
    retired: frozenset[ProductId] = frozenset()
    """Those of its products that the vendor no longer offers."""
    cancelled_at: datetime | None = None

    def at(self, now: datetime) -> "Subscription":
        """With what follows from the time: the lifecycle, and when the next rebalance is allowed."""
        state = self.state
        clock = state.rebalance.model_copy(update={"next_allowed_at": self.next_rebalance_at(now)})
        lifecycle = state_at(state.term_at(now), now, cancelled_at=self.cancelled_at)
        return replace(self, state=state.model_copy(update={"state": lifecycle, "rebalance": clock}))

    def next_rebalance_at(self, now: datetime) -> datetime | None:
        """When the next rebalance is allowed; ``None``: now."""
        return rebalance.next_allowed_at(self.state.rebalance, self.state.products, now)

    def product(self, product: ProductId) -> SubscribedProduct | None:
        """What it has of ``product``."""
        return next((one for one in self.state.products if one.product == product), None)

    def refusal_for(self, action: Action, now: datetime) -> Refusal | None:
        """Why ``action`` is not possible on this subscription at ``now``, whoever asks."""
        if action in FLEX and self.state.model != "flex":
            return refusals.not_a_flex_subscription()
        if action in FLEX and not self.flex_enabled:
            return refusals.feature_not_enabled(self.state.account)
        lifecycle = state_at(self.state.term_at(now), now, cancelled_at=self.cancelled_at)
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
        return refusals.invalid(*errors)
    state = SubscriptionState(
        id=command.subscription,
        account=command.account,
        name=command.name,
        model=command.model,
        state="pending",
        unit_label=command.unit_label,
        term=Term(start=command.start, end=command.end),
        window_days=terms.window_days,
        primary_contact=command.primary_contact,
        rebalance=RebalanceClock(every_days=terms.rebalance_every_days, scope=terms.rebalance_scope),
        version=1,
    )
    return Subscription(state, account.flex_enabled).at(now)


def subscribe(
    subscription: Subscription, id: ProductId, product: ProductState | None, now: datetime
) -> Subscription | Refusal:
    """The subscription with a product in it, nothing allocated yet. ``product``: what the catalogue has of that id."""
    if refusal := subscription.refusal_for("subscribe-product", now):
        return refusal
    if product is None:
        return refusals.not_found("product")
    if subscription.product(id):
        return refusals.already_exists("product", id)
    if product.retired_at is not None:
        return refusals.product_retired(id)
    if len(subscription.state.products) >= MAX_PRODUCTS:
        return refusals.invalid(("product", f"a subscription has at most {MAX_PRODUCTS} products"))
    added = SubscribedProduct(product=id, allocated=0, subscribed_at=now)
    return subscription.changed(now, products=(*subscription.state.products, added))


def set_policy(
    subscription: Subscription, product: ProductId, overage: OveragePolicy, now: datetime
) -> Subscription | Refusal:
    """The subscription with this overage policy of ``product``; the same value where that changes nothing."""
    if refusal := subscription.refusal_for("set-policy", now):
        return refusal
    subscribed = subscription.product(product)
    if subscribed is None:
        return refusals.product_not_subscribed(product)
    if subscribed.policy == overage:
        return subscription
    changed = subscribed.model_copy(update={"policy": overage})
    products = tuple(changed if one is subscribed else one for one in subscription.state.products)
    return subscription.changed(now, products=products)
