"""Values that more than one example contains: accounts, products, lots, alerts."""

from typing import Any

Data = dict[str, Any]
AT = "2026-11-24T10:15:00Z"
COMMAND = "0c3b1f3e-6a51-4f0a-9f0e-3d1d6f6b8a11"
PAULA, VERA = "paula@acme.example", "vera@unitpool.example"
PAULA_ID, ALAN_ID = "0a6c2f0b6f0e4c279c1d5d1f5f0c8a52", "5f0c8a5210c84d1bb66e2f3a7c9d101e"
VERA_ID = "9c1d5d1f5f0c8a520a6c2f0b6f0e4c27"
WRITTEN = f"sealed:{VERA_ID}:eyJhbGciOiJkaXIiLCJlbmMiOiJBMjU2R0NNIn0..c2l4dGVlbg.dGV4dA.dGFn"
"""What Vera wrote, sealed with her key."""
ACCOUNT: Data = {"id": "acme", "name": "Acme", "flex_enabled": True, "version": 2}
RATE: Data = {"version": 1, "units": 1, "block": 1, "effective_from": "2026-01-01T00:00:00Z"}
METER: Data = {"meter": "host", "name": "Hosts", "aggregation": "unique", "reset": "window", "rates": [RATE]}
HOSTS: Data = {
    "meter": "host",
    "aggregation": "unique",
    "reset": "window",
    "units": 1,
    "block": 1,
    "rate_version": 1,
}
PRODUCT: Data = {
    "id": "exposure-scan",
    "name": "Exposure Scan",
    "sources": ["/platforms/exposure-scan"],
    "meters": [METER],
    "version": 2,
}
LOT: Data = {
    "id": "lot-1",
    "units": 10000,
    "start": "2026-11-01T00:00:00Z",
    "end": "2027-11-01T00:00:00Z",
    "order_reference": "PO-4711",
    "purchased_at": "2026-10-28T09:00:00Z",
}
SUBSCRIPTION: Data = {
    "id": "acme-flex",
    "account": "acme",
    "name": "Acme Flex",
    "model": "flex",
    "state": "active",
    "unit_label": "Units",
    "term": {"start": "2026-11-01T00:00:00Z", "end": "2027-11-01T00:00:00Z"},
    "window_days": 15,
    "primary_contact": PAULA_ID,
    "grants": [{"person": ALAN_ID, "grant": "allocator"}],
    "lots": [LOT],
    "products": [
        {
            "product": "exposure-scan",
            "allocated": 1000,
            "policy": "soft",
            "restricted": False,
            "subscribed_at": "2026-11-01T08:00:00Z",
        }
    ],
    "rebalance": {
        "every_days": 90,
        "scope": "subscription",
        "last_at": "2026-11-02T08:00:00Z",
        "next_allowed_at": "2027-01-31T08:00:00Z",
    },
    "version": 5,
}
NEXT_TERM: Data = {"start": "2027-11-01T00:00:00Z", "end": "2028-11-01T00:00:00Z"}
TEMPLATES: Data = {
    "permissions": [
        {"id": "page.use", "category": "Access", "description": "Use the application's pages"},
        {"id": "api.use", "category": "Access", "description": "Use the application's API"},
        {"id": "findings.read", "category": "Findings", "description": "Read what was found"},
    ],
    "roles": [
        {
            "role": "exposure-scan-reader",
            "name": "Exposure Scan Reader",
            "summary": "Reads what was found, and changes nothing",
            "permissions": ["page.use", "findings.read"],
        }
    ],
}
PRICE_LIST: Data = {
    "currency": "EUR",
    "list_price_minor": 1000,
    "tiers": [
        {"from_units": 0, "discount_basis_points": 0},
        {"from_units": 10000, "discount_basis_points": 800},
    ],
}
ALERT: Data = {
    "id": "7b0f6a52-5a0e-5b1c-8f43-0d3c3b1a9a10",
    "subscription": "acme-flex",
    "account": "acme",
    "rule": "product_consumption",
    "scope": "product",
    "product": "exposure-scan",
    "severity": "warning",
    "threshold": 80,
    "value_at": "85.0",
    "part": 850,
    "limit": 1000,
    "window_start": "2026-11-16T00:00:00Z",
    "window_end": "2026-12-01T00:00:00Z",
    "raised_at": AT,
    "state": "active",
    "message": "Exposure Scan consumed 850 of its 1,000 allocated Units (85.0%), "
    "which reaches the warning threshold of 80%. The window ends in 7 days, the term in 342 days.",
    "actions": ["9,000 unallocated Units can be allocated to Exposure Scan"],
    "version": 1,
}
ACKNOWLEDGED: Data = {"state": "acknowledged", "acknowledged_by": PAULA_ID, "acknowledged_at": "2026-11-24T10:20:00Z"}
DECIDED: Data = {"command_id": COMMAND, "actor": PAULA_ID, "decided_at": AT, "resource": "acme-flex", "version": 5}
INGEST_KEY: Data = {
    "id": "key-1",
    "product": "exposure-scan",
    "created_at": AT,
    "created_by": VERA_ID,
    "expires_at": "2027-11-24T10:15:00Z",
    "version": 1,
}
CHANGE: Data = {"product": "exposure-scan", "before": 800, "after": 1000}
