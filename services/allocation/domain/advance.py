"""Changes of a subscription without a command.

They follow from time, from consumption, and from the retirement of a product.

Time is advanced instant by instant, so a late run publishes the same changes as a punctual one: in the same order, each
with the state as of its instant.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from services.allocation.domain.lifecycle import GRACE, READ_ONLY
from services.allocation.domain.overage import observe, restricted_from
from services.allocation.domain.products import ended
from services.allocation.domain.subscriptions import Subscription
from shared.consumption import USABLE_STATES
from shared.events.allocation import (
    LifecycleChanged,
    LotEnded,
    LotStarted,
    PoolOverAllocated,
    ProductEnded,
    RestrictionChanged,
    TermStarted,
)
from shared.events.envelope import Payload


@dataclass(frozen=True, slots=True)
class Advanced:
    """A subscription that was brought up to date, and the events of its changes.

    The events are in the order of the changes.
    """

    subscription: Subscription
    events: tuple[Payload, ...]


def advance(subscription: Subscription, now: datetime) -> Advanced:
    """Apply every change that is due without a command, up to ``now``.

    Several calls give the same result as one, except for changes by consumption, of which only the newest is known.
    """
    events: list[Payload] = []
    while (at := _next_instant(subscription, subscription.settled_at)) is not None and at <= now:
        step = _pass(subscription, at)
        subscription = step.subscription
        events += step.events
    assessed = _assess(subscription, max(now, subscription.settled_at))
    return Advanced(assessed.subscription, (*events, *assessed.events))


def is_behind(subscription: Subscription, now: datetime) -> bool:
    """Whether a change by time is due, or the subscription is marked as due."""
    at = _next_instant(subscription, subscription.settled_at)
    return subscription.is_due(now) or (at is not None and at <= now)


def conclude(before: Subscription, after: Subscription, now: datetime) -> Advanced:
    """Add to ``after``, the result of a command, what follows from it at once.

    Such are a term that has begun already, restrictions, the lifecycle and over-allocation. The version stays that of
    ``after``. The events are those of the consequences, without the command's own.
    """
    settled = replace(observe(after, now), settled_at=max(now, after.settled_at))
    events: list[Payload] = []
    if after.state.term_at(now).start != before.state.term_at(now).start:  # a term that has begun already was sold
        events = [_term_started(settled, now), *_lots(before, settled, now)]
    return Advanced(settled, (*events, *_consequences(before, settled, now, now)))


def next_due(subscription: Subscription, now: datetime) -> datetime | None:
    """Return when the next change without a command may be due; ``None``: never.

    The start of a window is such an instant, because consumption restarts there even without usage.
    """
    instants = restricted_from(subscription, now)
    if (instant := _next_instant(subscription, now)) is not None:
        instants.append(instant)
    lives = subscription.lifecycle_at(now) in USABLE_STATES
    if lives and subscription.state.model == "flex" and subscription.state.active_products:
        instants.append(subscription.state.calendar.window_at(now).end)
    return min(instants, default=None)


def _next_instant(subscription: Subscription, after: datetime) -> datetime | None:
    """Return the next instant at which time alone may change something."""
    if subscription.cancelled_at is not None:
        return None
    instants = [at for lot in subscription.state.lots if lot.voided_at is None for at in (lot.start, lot.end)]
    for term in subscription.state.all_terms:
        instants += [term.start, term.end, term.end + GRACE, term.end + GRACE + READ_ONLY]
    return min((at for at in instants if at > after), default=None)


def _pass(before: Subscription, at: datetime) -> Advanced:
    """Advance past one instant."""
    begins = before.state.term_at(at) is not before.state.term_at(before.settled_at)
    passed = replace(before, settled_at=at, exhausted=before.exhausted and not begins)
    after = passed.changed(at)
    events = [*_lots(before, after, at), *_consequences(before, after, before.settled_at, at)]
    if begins:
        events.insert(0, _term_started(after, at))
    return Advanced(after, tuple(events)) if events else Advanced(passed, ())


def _term_started(after: Subscription, at: datetime) -> Payload:
    return TermStarted(subscription=after.state, carried_over=after.state.allocated <= after.state.purchased(at))


def _assess(before: Subscription, now: datetime) -> Advanced:
    """Apply what does not follow from time alone: retired products and consumption."""
    gone = [one for one in before.state.active_products if one.product in before.retired]
    products = ended(before, {one.product for one in gone}, now)
    state = before.state.model_copy(update={"products": products})
    observed = observe(replace(before, state=state, settled_at=now), now)
    after = observed.changed(now)
    events: list[Payload] = [
        ProductEnded(subscription=after.state, product=one.product, because="retired", returned=one.allocated)
        for one in gone
    ]
    events += _consequences(before, after, now, now)
    return Advanced(after, tuple(events)) if events else Advanced(observed, ())


def _lots(before: Subscription, after: Subscription, at: datetime) -> Sequence[Payload]:
    """Return the events of the lots that end or start at ``at``."""
    had = {lot.id for lot in before.state.lots_at(before.settled_at)}
    has = {lot.id for lot in after.state.lots_at(at)}
    lots = [lot.id for lot in after.state.lots]
    return [
        *(LotEnded(subscription=after.state, lot=lot) for lot in lots if lot in had - has),
        *(LotStarted(subscription=after.state, lot=lot) for lot in lots if lot in has - had),
    ]


def _consequences(before: Subscription, after: Subscription, then: datetime, now: datetime) -> list[Payload]:
    """Return the events that follow from a change.

    They concern the lifecycle, the restrictions of products, and over-allocation of the pool.
    """
    events: list[Payload] = []
    was, state = before.state, after.state
    if was.state != state.state != "cancelled":
        events.append(LifecycleChanged(subscription=state, before=was.state, after=state.state))
    restricted = {one.product: one.restricted for one in was.active_products}
    events += [
        RestrictionChanged(subscription=state, product=one.product, restricted=one.restricted)
        for one in state.active_products
        if one.restricted != restricted.get(one.product, False)
    ]
    allocated, purchased = state.allocated, state.purchased(now)
    if was.allocated <= was.purchased(then) and allocated > purchased:
        excess = allocated - purchased
        events.append(PoolOverAllocated(subscription=state, purchased=purchased, allocated=allocated, excess=excess))
    return events
