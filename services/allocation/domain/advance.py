"""What happens to a subscription by itself: with the time, by what it consumes, and because a product is retired.

The time is gone through instant by instant, so it does not context how late someone looks: the same changes are told,
in the same order, each with the state as of its instant.
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
    """A subscription as it is now, and what happened on the way, in order."""

    subscription: Subscription
    events: tuple[Payload, ...]


def advance(subscription: Subscription, now: datetime) -> Advanced:
    """Bring a subscription up to ``now``. Several steps come to the same as one, but for what consumption does."""
    events: list[Payload] = []
    while (at := _next_instant(subscription, subscription.settled_at)) is not None and at <= now:
        step = _pass(subscription, at)
        subscription = step.subscription
        events += step.events
    look = _look(subscription, max(now, subscription.settled_at))
    return Advanced(look.subscription, (*events, *look.events))


def is_behind(subscription: Subscription, now: datetime) -> bool:
    """Whether something has changed by itself that was not told yet, or someone has asked for a look."""
    at = _next_instant(subscription, subscription.settled_at)
    return subscription.is_due(now) or (at is not None and at <= now)


def conclude(before: Subscription, after: Subscription, now: datetime) -> Advanced:
    """What a command's change from ``before`` to ``after`` leads to at once, in the same version."""
    settled = replace(observe(after, now), settled_at=max(now, after.settled_at))
    events: list[Payload] = []
    if after.state.term_at(now).start != before.state.term_at(now).start:  # a term that has begun already was sold
        events = [_term_started(settled, now), *_lots(before, settled, now)]
    return Advanced(settled, (*events, *_consequences(before, settled, now, now)))


def next_due(subscription: Subscription, now: datetime) -> datetime | None:
    """When to look next; ``None``: nothing changes by itself any more.

    At the start of a window the figures of consumption change, also when nothing is measured.
    """
    instants = restricted_from(subscription, now)
    if (instant := _next_instant(subscription, now)) is not None:
        instants.append(instant)
    lives = subscription.lifecycle_at(now) in USABLE_STATES
    if lives and subscription.state.model == "flex" and subscription.state.active_products:
        instants.append(subscription.state.calendar.window_at(now).end)
    return min(instants, default=None)


def _next_instant(subscription: Subscription, after: datetime) -> datetime | None:
    """The next instant at which the time alone may change something."""
    if subscription.cancelled_at is not None:
        return None
    instants = [at for lot in subscription.state.lots if lot.voided_at is None for at in (lot.start, lot.end)]
    for term in subscription.state.all_terms:
        instants += [term.start, term.end, term.end + GRACE, term.end + GRACE + READ_ONLY]
    return min((at for at in instants if at > after), default=None)


def _pass(before: Subscription, at: datetime) -> Advanced:
    """Past one instant."""
    begins = before.state.term_at(at) is not before.state.term_at(before.settled_at)
    passed = replace(before, settled_at=at, exhausted=before.exhausted and not begins)
    after = passed.changed(at)
    events = [*_lots(before, after, at), *_consequences(before, after, before.settled_at, at)]
    if begins:
        events.insert(0, _term_started(after, at))
    return Advanced(after, tuple(events)) if events else Advanced(passed, ())


def _term_started(after: Subscription, at: datetime) -> Payload:
    return TermStarted(subscription=after.state, carried_over=after.state.allocated <= after.state.purchased(at))


def _look(before: Subscription, now: datetime) -> Advanced:
    """At what does not follow from the time alone."""
    gone = [one for one in before.state.active_products if one.product in before.retired]
    products = ended(before, {one.product for one in gone}, now)
    state = before.state.model_copy(update={"products": products})
    looked = observe(replace(before, state=state, settled_at=now), now)
    after = looked.changed(now)
    events: list[Payload] = [
        ProductEnded(subscription=after.state, product=one.product, because="retired", returned=one.allocated)
        for one in gone
    ]
    events += _consequences(before, after, now, now)
    return Advanced(after, tuple(events)) if events else Advanced(looked, ())


def _lots(before: Subscription, after: Subscription, at: datetime) -> Sequence[Payload]:
    """Which lots no longer count, and which do from now on."""
    had = {lot.id for lot in before.state.lots_at(before.settled_at)}
    has = {lot.id for lot in after.state.lots_at(at)}
    lots = [lot.id for lot in after.state.lots]
    return [
        *(LotEnded(subscription=after.state, lot=lot) for lot in lots if lot in had - has),
        *(LotStarted(subscription=after.state, lot=lot) for lot in lots if lot in has - had),
    ]


def _consequences(before: Subscription, after: Subscription, then: datetime, now: datetime) -> list[Payload]:
    """What a reader must be told besides the change itself."""
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
