"""Bodies as the API's reads give them, with only what a test cares about spelled out."""

from datetime import UTC, datetime, timedelta
from typing import Any

NOW = datetime(2026, 11, 24, 10, 15, tzinfo=UTC)


def product(name: str = "Exposure Scan", allocated: int = 1000, consumed: int = 500, **more: Any) -> dict[str, Any]:
    """One product of an overview."""
    return {
        "product": name.lower().replace(" ", "-"),
        "name": name,
        "allocated": allocated,
        "consumed": consumed,
        "unused": allocated - consumed,
        "utilisation": round(consumed * 100 / allocated, 1) if allocated else None,
        "policy": "soft",
        "restricted": False,
        "floor": consumed,
        "meters": [],
        **{"class": more.pop("klass", "healthy"), **more},
    }


def meter(**more: Any) -> dict[str, Any]:
    """One meter of a product."""
    return {
        "meter": "host",
        "aggregation": "unique",
        "reset": "window",
        "aggregate": 2140,
        "units": 1,
        "block": 1,
        "rate_version": 1,
        "consumed": 2140,
        "peak_at": None,
        "provisional": True,
        **more,
    }


def overview(*products: dict[str, Any], purchased: int = 10_000, **more: Any) -> dict[str, Any]:
    """A subscription's overview; the pool's figures follow from the products."""
    allocated = sum(one["allocated"] for one in products)
    consumed = sum(one["consumed"] for one in products)
    return {
        "id": "acme-flex",
        "account": "acme",
        "name": "Acme Flex",
        "model": "flex",
        "state": "active",
        "unit_label": "Units",
        "version": 7,
        "term": {"start": NOW - timedelta(days=200), "end": NOW + timedelta(days=128), "days_left": 128},
        "window": {"start": NOW - timedelta(days=5), "end": NOW + timedelta(days=10), "days_left": 10},
        "purchased": purchased,
        "allocated": allocated,
        "consumed": consumed,
        "unallocated": max(0, purchased - allocated),
        "unused": allocated - consumed,
        "over_allocated": max(0, allocated - purchased),
        "as_of": NOW,
        "rebalance": {"allowed": True, "next_allowed_at": None, "every_days": 90, "last_at": None},
        "products": list(products),
        **more,
    }


def waiting(until: datetime) -> dict[str, Any]:
    """A rebalance clock that runs until then."""
    return {"allowed": False, "next_allowed_at": until, "every_days": 90, "last_at": until - timedelta(days=90)}


def alert(**more: Any) -> dict[str, Any]:
    """One active alert."""
    return {
        "id": "a1",
        "rule": "product-consumption",
        "scope": "product",
        "product": "exposure-scan",
        "severity": "high",
        "threshold": 90,
        "value_at": "90.1",
        "value_now": 97.3,
        "raised_at": NOW - timedelta(hours=1),
        "state": "active",
        "acknowledged_by": None,
        "message": "Exposure Scan uses 97.3 % of its units.",
        "actions": ["Give it more."],
        **more,
    }
