"""The arithmetic of a subscription's overview, from its state and snapshots.

- ``unallocated`` and ``over_allocated`` are never negative; ``unused`` is, if consumption exceeds the allocation.
- ``drawn``: what products with the policy ``reserve`` consume beyond their allocations, in the products' order, capped
  by what is unallocated. The rest is overage. ``unallocated`` does not subtract it, since plans are decided so.
- ``cost`` of a product: its share of what was paid, if all units that count have a price.
- Products that have ended are left out; their history stays.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

from services.reporting.domain.current_term import CurrentTerm, WindowFigures
from services.reporting.domain.overview import Overview, Period, RebalanceClock, Renewal
from services.reporting.domain.product_overview import ProductConsumption, product_overview
from shared.consumption import USABLE_STATES, reserve_draws
from shared.events.state import ProductState, SubscriptionState
from shared.pricing import product_costs
from shared.windows import days_left


def overview_of(
    subscription: SubscriptionState,
    catalogue: Mapping[str, ProductState],
    consumption: Mapping[str, Sequence[WindowFigures]],
    now: datetime,
) -> Overview:
    """Compute the overview at ``now``.

    ``consumption``: by product, each in order of time.
    """
    current = CurrentTerm.of(subscription, now)
    products = subscription.active_products
    measured = [ProductConsumption.of(consumption.get(one.product, ()), current) for one in products]
    purchased, allocated = subscription.purchased(now), subscription.allocated
    consumed = sum([one.consumed for one in measured])
    unallocated = max(0, purchased - allocated)
    drawn = reserve_draws(
        [(one.policy, one.allocated, figures.consumed) for one, figures in zip(products, measured, strict=True)],
        unallocated,
    )
    consumed_by = {str(one.product): figures.consumed for one, figures in zip(products, measured, strict=True)}
    costs = {cost.product: cost for cost in product_costs(subscription, consumed_by, now) or ()}
    return Overview(
        id=subscription.id,
        account=subscription.account,
        name=subscription.name,
        model=subscription.model,
        state=subscription.state,
        unit_label=subscription.unit_label,
        version=subscription.version,
        term=Period(current.term.start, current.term.end, days_left(current.term.end, now)),
        window=Period(current.window.start, current.window.end, days_left(current.window.end, now)),
        purchased=purchased,
        allocated=allocated,
        consumed=consumed,
        unallocated=unallocated,
        unused=allocated - consumed,
        over_allocated=max(0, allocated - purchased),
        as_of=max((one.newest.as_of for one in measured if one.newest), default=None),
        rebalance=_rebalance(subscription, now),
        products=tuple(
            product_overview(
                one, catalogue.get(one.product), figures, current, drawn=draws, cost=costs.get(one.product)
            )
            for one, figures, draws in zip(products, measured, drawn, strict=True)
        ),
        drawn=sum(drawn),
        rates_locked_at=current.term.rates_locked_at,
        renewal=_renewal(subscription, now),
    )


def _renewal(subscription: SubscriptionState, now: datetime) -> Renewal | None:
    """Return the term that was sold and has not begun, if any."""
    waiting = next((term for term in subscription.all_terms if term.start > now), None)
    if waiting is None or waiting == subscription.all_terms[0]:
        return None
    units = subscription.purchased(waiting.start)
    return Renewal(waiting.start, waiting.end, units, carries_over=units >= subscription.allocated)


def _rebalance(subscription: SubscriptionState, now: datetime) -> RebalanceClock:
    clock = subscription.rebalance
    waiting = clock.next_allowed_at is not None and clock.next_allowed_at > now
    return RebalanceClock(
        allowed=subscription.model == "flex" and subscription.state in USABLE_STATES and not waiting,
        next_allowed_at=clock.next_allowed_at if waiting else None,
        every_days=clock.every_days,
        last_at=clock.last_at,
    )
