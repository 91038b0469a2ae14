"""Builders of insights: measured windows, facts, and generated series of usage."""

import math
import random
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from services.reporting.domain.insights.accuracy import Accuracy
from services.reporting.domain.insights.facts import Facts
from services.reporting.domain.insights.forecasts import ScopeForecast, forecasts_of
from services.reporting.domain.insights.series import MeasuredWindow
from services.reporting.domain.insights.subscription_insights import Insights, insights_of
from shared.events.metering import ConsumptionSnapshot
from shared.events.state import Lot, ProductState, RebalanceClock, SubscribedProduct, SubscriptionState, Term
from tests.support.builders.published import product, subscription

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
WINDOW_DAYS = timedelta(days=15)
ENDS = BEGAN + timedelta(days=365)
PRESENT = BEGAN + WINDOW_DAYS * 12 + timedelta(days=5)
"""Twelve windows have closed, and the 13th is open since five days."""


def at_window(number: int) -> datetime:
    """Return the start of a window, counted from 0."""
    return BEGAN + WINDOW_DAYS * number


def windows(
    levels: Sequence[int | None], name: str = "scan", *, burns: bool = False, first: int = 0
) -> list[MeasuredWindow]:
    """Build a product's windows from the first on; ``None``: no measurement.

    With ``burns`` the values are what each window burned down.
    """
    total, rows = 0, []
    for number, level in enumerate(levels, first):
        if level is None:
            continue
        total += level if burns else 0
        start = at_window(number)
        figures = (0, total) if burns else (level, 0)
        rows.append(MeasuredWindow(name, start, start + WINDOW_DAYS, 1, *figures, start + WINDOW_DAYS))
    return rows


def state_of(allocated: Mapping[str, int], purchased: int = 1000, **more: Any) -> SubscriptionState:
    """Build a subscription of a year from ``BEGAN`` on."""
    subscribed_at: Mapping[str, datetime] = more.pop("subscribed_at", {})
    values: dict[str, Any] = {
        "term": Term(start=BEGAN, end=ENDS),
        "lots": [a_lot(purchased)] if purchased else [],
        "products": [
            SubscribedProduct(product=one, allocated=units, subscribed_at=subscribed_at.get(one, BEGAN))
            for one, units in allocated.items()
        ],
        "rebalance": RebalanceClock(every_days=90),
    }
    return subscription(version=7, **{**values, **more})


def a_lot(units: int, start: datetime = BEGAN, end: datetime = ENDS) -> Lot:
    """Build a lot."""
    return Lot(id=f"lot-{units}-{start:%j}", units=units, start=start, end=end, order_reference="", purchased_at=start)


def catalogue_of(names: Sequence[str], burning: Sequence[str] = ()) -> dict[str, ProductState]:
    """Build the catalogue's entries; meters of ``burning`` reset with the term."""
    kinds = {one: ("sum", "term") if one in burning else ("unique", "window") for one in names}
    return {one: product(one, aggregation=kind, reset=reset).product for one, (kind, reset) in kinds.items()}


def facts_of(
    state: SubscriptionState,
    rows: Sequence[MeasuredWindow],
    now: datetime = PRESENT,
    *,
    burning: Sequence[str] = (),
    flex_enabled: bool = True,
) -> Facts:
    """Build the facts of a subscription."""
    catalogue = catalogue_of([one.product for one in state.products], burning)
    return Facts(state, catalogue, flex_enabled, sorted(rows, key=lambda row: (row.product, row.start)), now)


def scopes_of(facts: Facts) -> dict[str | None, ScopeForecast]:
    """Make the forecasts, by product; ``None`` is the pool."""
    made = forecasts_of(facts.subscription, facts.catalogue, facts.rows, facts.now)
    return {one.product: one for one in made}


def insights_now(facts: Facts, accuracies: Sequence[Accuracy] = ()) -> Insights:
    """Make the forecasts and compare them with the same facts."""
    return insights_of(facts, facts.now, tuple(scopes_of(facts).values()), accuracies)


def generated_levels(chance: random.Random, count: int) -> list[float]:
    """Generate levels with trend, season, noise and jumps, each in some series."""
    base = 10 ** chance.uniform(2, 5)
    trend = chance.choice([0, 0, chance.uniform(-0.03, 0.05)]) * base
    season, period = chance.choice([0, 0, chance.uniform(0, 0.2)]) * base, chance.choice([2, 6, 24])
    noise, phase = chance.uniform(0.01, 0.12) * base, chance.uniform(0, 6.28)
    jump_at, jump = chance.choice([None, None, None, chance.randrange(4, count)]), chance.uniform(-0.4, 0.5) * base
    levels = []
    for place in range(count):
        wave = season * math.sin(phase + 2 * math.pi * place / period)
        jumped = jump if jump_at is not None and place >= jump_at else 0
        levels.append(max(0.0, base + trend * place + wave + jumped + chance.gauss(0, noise)))
    return levels


def generated_days(chance: random.Random, count: int) -> list[float]:
    """Generate a burn-down by day, with trend, noise, and quiet weekends in some."""
    base = 10 ** chance.uniform(1, 5)
    trend, noise = chance.choice([0, chance.uniform(-0.002, 0.004)]) * base, chance.uniform(0.05, 0.6) * base
    quiet = chance.choice([0, 0.3])
    return [
        max(0.0, base + trend * day + chance.gauss(0, noise)) * (1 - quiet * (day % 7 >= 5)) for day in range(count)
    ]


def snapshots_of(rows: Sequence[MeasuredWindow], sub: str = "sub-1", revision: int = 1) -> list[ConsumptionSnapshot]:
    """Build the snapshots from which such windows are stored."""
    return [_snapshot(row, sub, revision) for row in rows]


def _snapshot(row: MeasuredWindow, sub: str, revision: int) -> ConsumptionSnapshot:
    reset = "term" if row.burned_down else "window"
    meter = {"meter": "host", "aggregation": "sum", "reset": reset, "units": 1, "block": 1, "rate_version": 1}
    return ConsumptionSnapshot.model_validate(
        {
            "subscription": sub,
            "product": row.product,
            "window_start": row.start,
            "window_end": row.end,
            "revision": revision,
            "consumed": row.consumed,
            "meters": [{**meter, "aggregate": row.consumed, "consumed": row.consumed}],
            "as_of": row.as_of,
        }
    )
