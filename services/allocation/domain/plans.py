"""Plans: every change to allocations, decided as a whole."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypedDict

from services.allocation.domain import rebalance, refusals
from services.allocation.domain.floor import NOTHING, Consumptions
from services.allocation.domain.products import replaced
from services.allocation.domain.subscriptions import Subscription
from shared.events.allocation import AllocationChange
from shared.events.commands.plans import ApplyPlan, PlannedChange
from shared.events.envelope import rfc3339
from shared.events.ids import ProductId
from shared.events.refusals import Refusal

Changes = Sequence[AllocationChange]


class ProductFigures(TypedDict):
    """A product before or after a plan."""

    product: ProductId
    allocated: int
    consumed: int


class PlanResult(TypedDict):
    """The result of a plan, for its requester."""

    preview: bool
    allowed: bool
    before: list[ProductFigures]
    after: list[ProductFigures]
    unallocated_after: int
    starts_clock: bool
    next_allowed_at: str | None


@dataclass(frozen=True, slots=True)
class Decided:
    """A plan that passes every rule.

    ``changes`` has only the effective ones, in the order requested.
    """

    before: Subscription
    after: Subscription
    changes: tuple[AllocationChange, ...]
    starts_clock: bool
    purchased: int

    @property
    def kind(self) -> Literal["allocation", "rebalance"]:
        """``rebalance`` if an allocation is lowered, otherwise ``allocation``."""
        return "rebalance" if _lowered(self.changes) else "allocation"

    def result(self, consumptions: Consumptions, now: datetime, *, preview: bool) -> PlanResult:
        """Return the result for the requester.

        A preview and an applied plan have the same fields.
        """
        return {
            "preview": preview,
            "allowed": True,
            "before": _figures(self.before, consumptions),
            "after": _figures(self.after, consumptions),
            "unallocated_after": max(0, self.purchased - self.after.state.allocated),
            "starts_clock": self.starts_clock,
            "next_allowed_at": _next_allowed_at(self.after, now),
        }


def decide(
    subscription: Subscription, command: ApplyPlan, consumptions: Consumptions, now: datetime
) -> Decided | Refusal:
    """Decide an authorised plan.

    Every refusal says when the next rebalance is allowed.
    """
    decided = _decide(subscription, command, consumptions, now)
    if isinstance(decided, Refusal) and "next_allowed_at" not in decided.details:
        answer = {"next_allowed_at": _next_allowed_at(subscription, now)}
        return decided.model_copy(update={"details": {**decided.details, **answer}})
    return decided


def _decide(
    subscription: Subscription, command: ApplyPlan, consumptions: Consumptions, now: datetime
) -> Decided | Refusal:
    override = command.override_reason is not None
    if refusal := subscription.refusal_for("override-plan" if override else "apply-plan", now):
        return refusal
    version = subscription.state.version
    if command.expected_version is not None and command.expected_version != version:
        return refusals.stale_version(command.expected_version, version)
    changes = _changes(subscription, command.changes)
    if isinstance(changes, Refusal):
        return changes
    purchased = subscription.state.purchased(now)
    starts_clock = bool(_lowered(changes)) and not _only_cures(subscription, changes, purchased)
    refusal = (
        _pool_refusal(subscription, changes, purchased)
        or _floor_refusal(subscription, changes, consumptions, accept_overage=command.accept_overage)
        or (_clock_refusal(subscription, changes, now) if starts_clock and not override else None)
    )
    if refusal:
        return refusal
    after = _apply(subscription, changes, now, starts_clock=starts_clock)
    return Decided(subscription.at(now), after, changes, starts_clock, purchased)


def _next_allowed_at(subscription: Subscription, now: datetime) -> str | None:
    at = subscription.next_rebalance_at(now)
    return None if at is None else rfc3339(at)


def _changes(subscription: Subscription, planned: Sequence[PlannedChange]) -> tuple[AllocationChange, ...] | Refusal:
    """Return the effective changes of a plan, or why it is refused.

    It is refused if it names a product twice or one that is not in use, raises a retired product, or changes nothing.
    """
    has = {one.product: one.allocated for one in subscription.state.active_products}
    named: set[ProductId] = set()
    changes = []
    for place, change in enumerate(planned):
        product, units = change.product, change.units
        if product in named:
            return Refusal.invalid((f"changes.{place}.product", "names a product that the plan has already"))
        named.add(product)
        if product not in has:
            return refusals.product_not_subscribed(product)
        if product in subscription.retired and units > has[product]:
            return refusals.product_retired(product)
        if units != has[product]:
            changes.append(AllocationChange(product=product, before=has[product], after=units))
    return tuple(changes) or Refusal.invalid(("changes", "the plan changes nothing"))


def _lowered(changes: Changes) -> list[ProductId]:
    return [change.product for change in changes if change.after < change.before]


def _added(changes: Changes) -> int:
    return sum(change.after - change.before for change in changes)


def _only_cures(subscription: Subscription, changes: Changes, purchased: int) -> bool:
    """Whether the plan only lowers an over-allocated pool, by no more than its excess."""
    excess = subscription.state.allocated - purchased
    return excess > 0 and -_added(changes) <= excess


def _pool_refusal(subscription: Subscription, changes: Changes, purchased: int) -> Refusal | None:
    """Refuse a sum of allocations above what is purchased.

    While the sum is above already, any rise is refused.
    """
    allocated, added = subscription.state.allocated, _added(changes)
    if allocated > purchased:
        raises = any(change.after > change.before for change in changes)
        return refusals.over_allocated(allocated - purchased) if raises else None
    if allocated + added <= purchased:
        return None
    requested = sum(change.after for change in changes)
    return refusals.insufficient_units(purchased=purchased, allocated=allocated, requested=requested, additional=added)


def _floor_refusal(
    subscription: Subscription, changes: Changes, consumptions: Consumptions, *, accept_overage: bool
) -> Refusal | None:
    """Refuse to lower a product below its floor.

    It is permitted if the product's policy permits overage and the requester accepts it.
    """
    policies = {one.product: one.policy for one in subscription.state.products}
    for change in changes:
        floor = consumptions.get(change.product, NOTHING).floor
        if change.after >= change.before or change.after >= floor:
            continue
        can_accept = policies[change.product] != "hard"
        if not (accept_overage and can_accept):
            return refusals.below_consumption(change.product, change.after, floor, can_accept=can_accept)
    return None


def _clock_refusal(subscription: Subscription, changes: Changes, now: datetime) -> Refusal | None:
    lowered = _lowered(changes)
    last = [one for one in subscription.state.products if one.product in lowered]
    at = rebalance.waits_until(subscription.state.rebalance, last, now)
    return refusals.rebalance_too_soon(at, lowered) if at else None


def _apply(subscription: Subscription, changes: Changes, now: datetime, *, starts_clock: bool) -> Subscription:
    units = {change.product: {"allocated": change.after} for change in changes}
    lowered = {product: {"last_lowered_at": now} for product in _lowered(changes)} if starts_clock else {}
    changed = {
        one.product: one.model_copy(update={**units[one.product], **lowered.get(one.product, {})})
        for one in subscription.state.active_products
        if one.product in units
    }
    products = replaced(subscription, changed)
    clock = subscription.state.rebalance
    if starts_clock:
        clock = clock.model_copy(update={"last_at": now})
    return subscription.changed(now, products=products, rebalance=clock)


def _figures(subscription: Subscription, consumptions: Consumptions) -> list[ProductFigures]:
    return [
        {
            "product": one.product,
            "allocated": one.allocated,
            "consumed": consumptions.get(one.product, NOTHING).consumed,
        }
        for one in subscription.state.active_products
    ]
