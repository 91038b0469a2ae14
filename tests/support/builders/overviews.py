"""Builders of overviews and alerts with defaults for all that a test does not set."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from services.reporting.domain.alerts import CurrentAlert
from services.reporting.domain.overview import MeterArithmetic, Overview, Period, ProductOverview, RebalanceClock

NOW = datetime(2026, 11, 24, 10, 15, tzinfo=UTC)


def product(name: str = "Exposure Scan", allocated: int = 1000, consumed: int = 500, **more: Any) -> ProductOverview:
    """One product of an overview."""
    values: dict[str, Any] = {
        "product": name.lower().replace(" ", "-"),
        "name": name,
        "allocated": allocated,
        "consumed": consumed,
        "unused": allocated - consumed,
        "utilisation": round(consumed * 100 / allocated, 1) if allocated else None,
        "utilisation_class": "healthy",
        "policy": "soft",
        "restricted": False,
        "floor": consumed,
        "meters": (),
        "drawn": 0,
        "cost": None,
    }
    return ProductOverview(**{**values, **more})


def meter(**more: Any) -> MeterArithmetic:
    """One meter of a product."""
    values: dict[str, Any] = {
        "meter": "host",
        "aggregation": "unique",
        "reset": "window",
        "aggregate": Decimal(2140),
        "units": 1,
        "block": 1,
        "rate_version": 1,
        "consumed": 2140,
        "peak_at": None,
        "provisional": True,
    }
    return MeterArithmetic(**{**values, **more})


def overview(*products: ProductOverview, purchased: int = 10_000, **more: Any) -> Overview:
    """A subscription's overview; the pool's figures follow from the products."""
    allocated = sum(one.allocated for one in products)
    consumed = sum(one.consumed for one in products)
    values: dict[str, Any] = {
        "id": "acme-flex",
        "account": "acme",
        "name": "Acme Flex",
        "model": "flex",
        "state": "active",
        "unit_label": "Units",
        "version": 7,
        "term": Period(NOW - timedelta(days=200), NOW + timedelta(days=128), 128),
        "window": Period(NOW - timedelta(days=5), NOW + timedelta(days=10), 10),
        "purchased": purchased,
        "allocated": allocated,
        "consumed": consumed,
        "unallocated": max(0, purchased - allocated),
        "unused": allocated - consumed,
        "over_allocated": max(0, allocated - purchased),
        "as_of": NOW,
        "rebalance": RebalanceClock(allowed=True, next_allowed_at=None, every_days=90, last_at=None),
        "products": products,
        "drawn": 0,
        "rates_locked_at": None,
        "renewal": None,
    }
    return Overview(**{**values, **more})


def waiting(until: datetime | None) -> RebalanceClock:
    """Build a rebalance clock that runs until ``until``.

    None: allocations can no longer be changed.
    """
    last = (until or NOW) - timedelta(days=90)
    return RebalanceClock(allowed=False, next_allowed_at=until, every_days=90, last_at=last)


def alert(**more: Any) -> CurrentAlert:
    """One active alert."""
    values: dict[str, Any] = {
        "id": "a1",
        "rule": "product-consumption",
        "scope": "product",
        "product": "exposure-scan",
        "severity": "high",
        "threshold": 90,
        "value_at": 90.1,
        "value_now": 97.3,
        "raised_at": NOW - timedelta(hours=1),
        "state": "active",
        "acknowledged_by": None,
        "acknowledged_at": None,
        "message": "Exposure Scan uses 97.3 % of its units.",
        "actions": ("Give it more.",),
    }
    return CurrentAlert(**{**values, **more})
