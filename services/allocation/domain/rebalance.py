"""The rebalance clock: when the next rebalance is allowed."""

from collections.abc import Collection
from datetime import datetime, timedelta

from shared.events.state import RebalanceClock, SubscribedProduct


def waits_until(clock: RebalanceClock, lowering: Collection[SubscribedProduct], now: datetime) -> datetime | None:
    """Return the first instant at which these products may be lowered; ``None``: now."""
    lowered = [clock.last_at] if clock.scope == "subscription" else [one.last_lowered_at for one in lowering]
    last = max((at for at in lowered if at is not None), default=None)
    if last is None:
        return None
    allowed_at = last + timedelta(days=clock.every_days)
    return allowed_at if allowed_at > now else None


def next_allowed_at(clock: RebalanceClock, products: Collection[SubscribedProduct], now: datetime) -> datetime | None:
    """Return when any product that has units may be lowered next; ``None``: now."""
    if clock.scope == "subscription":
        return waits_until(clock, (), now)
    waits = [waits_until(clock, (one,), now) for one in products if one.allocated]
    free = not waits or None in waits
    return None if free else min(at for at in waits if at is not None)
