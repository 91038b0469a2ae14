"""Examples of answers, for the API's description."""

from typing import Any

OVERVIEW: dict[str, Any] = {
    "id": "0b6f5c1e-6f0a-5c37-9d0e-0d6f7c9b1a22",
    "account": "acme",
    "name": "Acme Flex",
    "model": "flex",
    "state": "active",
    "unit_label": "Units",
    "version": 17,
    "term": {"start": "2026-01-01T00:00:00Z", "end": "2027-01-01T00:00:00Z", "days_left": 38},
    "window": {"start": "2026-11-12T00:00:00Z", "end": "2026-11-27T00:00:00Z", "days_left": 3},
    "purchased": 5000,
    "allocated": 3000,
    "consumed": 2140,
    "unallocated": 2000,
    "unused": 860,
    "over_allocated": 0,
    "as_of": "2026-11-24T10:15:00Z",
    "rebalance": {
        "allowed": False,
        "next_allowed_at": "2027-01-02T09:00:00Z",
        "every_days": 90,
        "last_at": "2026-10-04T09:00:00Z",
    },
    "products": [
        {
            "product": "exposure-scan",
            "name": "Exposure Scan",
            "allocated": 3000,
            "consumed": 2140,
            "unused": 860,
            "utilisation": 71.3,
            "class": "healthy",
            "policy": "soft",
            "restricted": False,
            "floor": 2140,
            "meters": [
                {
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
                }
            ],
            "drawn": 0,
            "cost": {"currency": "EUR", "allocated_minor": 3_000_000, "consumed_minor": 2_140_000},
        }
    ],
    "drawn": 0,
    "rates_locked_at": None,
    "renewal": None,
}
