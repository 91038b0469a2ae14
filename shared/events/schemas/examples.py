"""One example of every event and command: one story, of the invented customer Acme, in the words of the domain."""

from typing import Any

from shared.events.envelope import Event, Payload

Data = dict[str, Any]

_AT = "2026-11-24T10:15:00Z"
_COMMAND = "0c3b1f3e-6a51-4f0a-9f0e-3d1d6f6b8a11"
_PAULA, _VERA = "paula@acme.example", "vera@unitpool.example"

_ACCOUNT: Data = {"id": "acme", "name": "Acme", "flex_enabled": True, "version": 2}
_RATE: Data = {"version": 1, "units": 1, "block": 1, "effective_from": "2026-01-01T00:00:00Z"}
_METER: Data = {"meter": "host", "name": "Hosts", "aggregation": "unique", "reset": "window", "rates": [_RATE]}
_HOSTS: Data = {
    "meter": "host",
    "aggregation": "unique",
    "reset": "window",
    "units": 1,
    "block": 1,
    "rate_version": 1,
}
_PRODUCT: Data = {
    "id": "exposure-scan",
    "name": "Exposure Scan",
    "sources": ["/platforms/exposure-scan"],
    "meters": [_METER],
    "version": 2,
}
_LOT: Data = {
    "id": "lot-1",
    "units": 10000,
    "start": "2026-11-01T00:00:00Z",
    "end": "2027-11-01T00:00:00Z",
    "order_reference": "PO-4711",
    "purchased_at": "2026-10-28T09:00:00Z",
}
_SUBSCRIPTION: Data = {
    "id": "acme-flex",
    "account": "acme",
    "name": "Acme Flex",
    "model": "flex",
    "state": "active",
    "unit_label": "Units",
    "term": {"start": "2026-11-01T00:00:00Z", "end": "2027-11-01T00:00:00Z"},
    "window_days": 15,
    "primary_contact": {"email": _PAULA, "name": "Paula Primary"},
    "grants": [{"email": "alan@acme.example", "grant": "allocator"}],
    "lots": [_LOT],
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
_NEXT_TERM: Data = {"start": "2027-11-01T00:00:00Z", "end": "2028-11-01T00:00:00Z"}
_TEMPLATES: Data = {
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
_PRICE_LIST: Data = {
    "currency": "EUR",
    "list_price_minor": 1000,
    "tiers": [
        {"from_units": 0, "discount_basis_points": 0},
        {"from_units": 10000, "discount_basis_points": 800},
    ],
}
_ALERT: Data = {
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
    "raised_at": _AT,
    "state": "active",
    "message": "Exposure Scan consumed 850 of its 1,000 allocated Units (85.0%), "
    "which reaches the warning threshold of 80%. The window ends in 7 days, the term in 342 days.",
    "actions": ["9,000 unallocated Units can be allocated to Exposure Scan"],
    "version": 1,
}
_ACKNOWLEDGED: Data = {"state": "acknowledged", "acknowledged_by": _PAULA, "acknowledged_at": "2026-11-24T10:20:00Z"}
_DECIDED: Data = {"command_id": _COMMAND, "actor": _PAULA, "decided_at": _AT, "resource": "acme-flex", "version": 5}
_INGEST_KEY: Data = {
    "id": "key-1",
    "product": "exposure-scan",
    "created_at": _AT,
    "created_by": _VERA,
    "expires_at": "2027-11-24T10:15:00Z",
    "version": 1,
}
_CHANGE: Data = {"product": "exposure-scan", "before": 800, "after": 1000}

_EVENTS: dict[str, Data] = {
    "unitpool.platform.usage.recorded.v1": {
        "product": "exposure-scan",
        "meter": "host",
        "quantity": "1",
        "resource": "host-0042",
    },
    "unitpool.platform.usage.reversed.v1": {
        "product": "exposure-scan",
        "source": "/platforms/exposure-scan",
        "id": "scan-20261123-0042",
        "reason": "scanned twice by mistake",
    },
    "unitpool.platform.resource.purged.v1": {"product": "exposure-scan", "meter": "host", "resource": "host-0042"},
    "unitpool.allocation.account.created.v1": {"account": _ACCOUNT},
    "unitpool.allocation.account.flex-changed.v1": {"account": _ACCOUNT, "reason": "ordered with PO-4711"},
    "unitpool.allocation.product.changed.v1": {"product": _PRODUCT, "change": "meter_added"},
    "unitpool.allocation.subscription.created.v1": {"subscription": _SUBSCRIPTION},
    "unitpool.allocation.lot.purchased.v1": {"subscription": _SUBSCRIPTION, "lot": _LOT},
    "unitpool.allocation.product.subscribed.v1": {"subscription": _SUBSCRIPTION, "product": "exposure-scan"},
    "unitpool.allocation.policy.changed.v1": {
        "subscription": _SUBSCRIPTION,
        "product": "exposure-scan",
        "before": "hard",
        "after": "soft",
    },
    "unitpool.allocation.plan.applied.v1": {
        "subscription": _SUBSCRIPTION,
        "kind": "allocation",
        "changes": [_CHANGE],
        "starts_clock": False,
        "accept_overage": False,
    },
    "unitpool.allocation.lot.started.v1": {"subscription": _SUBSCRIPTION, "lot": "lot-1"},
    "unitpool.allocation.lot.ended.v1": {"subscription": _SUBSCRIPTION, "lot": "lot-1"},
    "unitpool.allocation.lot.voided.v1": {"subscription": _SUBSCRIPTION, "lot": "lot-1", "reason": "ordered twice"},
    "unitpool.allocation.pool.over-allocated.v1": {
        "subscription": _SUBSCRIPTION,
        "purchased": 800,
        "allocated": 1000,
        "excess": 200,
    },
    "unitpool.allocation.subscription.lifecycle-changed.v1": {
        "subscription": _SUBSCRIPTION,
        "before": "pending",
        "after": "active",
    },
    "unitpool.allocation.subscription.cancelled.v1": {
        "subscription": {**_SUBSCRIPTION, "state": "cancelled"},
        "reason": "the customer left",
    },
    "unitpool.allocation.subscription.renewed.v1": {
        "subscription": {**_SUBSCRIPTION, "terms": [_SUBSCRIPTION["term"], _NEXT_TERM]},
        "term": _NEXT_TERM,
        "lot": {**_LOT, **_NEXT_TERM, "id": "lot-2", "order_reference": "PO-4712"},
    },
    "unitpool.allocation.term.started.v1": {
        "subscription": {**_SUBSCRIPTION, "term": _NEXT_TERM, "terms": [_SUBSCRIPTION["term"], _NEXT_TERM]},
        "carried_over": True,
    },
    "unitpool.allocation.subscription.converted.v1": {"subscription": _SUBSCRIPTION},
    "unitpool.allocation.rates.locked.v1": {
        "subscription": {**_SUBSCRIPTION, "term": {**_SUBSCRIPTION["term"], "rates_locked_at": _AT}},
        "locked": True,
    },
    "unitpool.allocation.product.ended.v1": {
        "subscription": _SUBSCRIPTION,
        "product": "risk-hub",
        "because": "unsubscribed",
        "returned": 250,
    },
    "unitpool.allocation.product.retired.v1": {"product": {**_PRODUCT, "retired_at": _AT}},
    "unitpool.allocation.role-templates.changed.v1": {"product": {**_PRODUCT, **_TEMPLATES, "roles_version": 1}},
    "unitpool.allocation.restriction.changed.v1": {
        "subscription": _SUBSCRIPTION,
        "product": "exposure-scan",
        "restricted": False,
    },
    "unitpool.allocation.price-list.changed.v1": {"price_list": {**_PRICE_LIST, "version": 1}},
    "unitpool.allocation.primary-contact.changed.v1": {
        "subscription": _SUBSCRIPTION,
        "before": {"email": "peter@acme.example", "name": "Peter Previous"},
    },
    "unitpool.allocation.grants.changed.v1": {"subscription": _SUBSCRIPTION, "email": "alan@acme.example"},
    "unitpool.allocation.person.changed.v1": {
        "person": {"account": "acme", "email": "alan@acme.example", "name": "Alan Allocator", "version": 1}
    },
    "unitpool.allocation.role.changed.v1": {
        "role": {
            "account": "acme",
            "role": "exposure-scan-reader",
            "product": "exposure-scan",
            "name": "Exposure Scan Reader",
            "is_default": True,
            "members": ["alan@acme.example"],
            "version": 2,
        }
    },
    "unitpool.allocation.command.decided.v1": {**_DECIDED, "command": "unitpool.allocation.apply-plan.v1"},
    "unitpool.metering.consumption.measured.v1": {
        "subscription": "acme-flex",
        "product": "exposure-scan",
        "window_start": "2026-11-16T00:00:00Z",
        "window_end": "2026-12-01T00:00:00Z",
        "revision": 17,
        "consumed": 850,
        "meters": [
            {
                "meter": "host",
                "aggregation": "unique",
                "reset": "window",
                "aggregate": "850",
                "units": 1,
                "block": 1,
                "rate_version": 1,
                "consumed": 850,
            }
        ],
        "as_of": _AT,
    },
    "unitpool.metering.ingest-key.changed.v1": {"ingest_key": _INGEST_KEY},
    "unitpool.metering.window.restated.v1": {
        "subscription": "acme-flex",
        "product": "exposure-scan",
        "window_start": "2026-11-01T00:00:00Z",
        "window_end": "2026-11-16T00:00:00Z",
        "before": {"revision": 7, "consumed": 412, "meters": [{**_HOSTS, "aggregate": "412", "consumed": 412}]},
        "after": {"revision": 8, "consumed": 411, "meters": [{**_HOSTS, "aggregate": "411", "consumed": 411}]},
        "cause": "reversal",
        "restated_at": "2026-11-24T10:15:01Z",
    },
    "unitpool.metering.usage.quarantined.v1": {
        "record": {
            "id": "4711",
            "topic": "usage.events",
            "partition": 3,
            "offset": 123456,
            "received_at": _AT,
            "quarantined_at": _AT,
            "reason": "product_not_subscribed",
            "detail": "the subscription does not use the product",
            "source": "/platforms/exposure-scan",
            "product": "exposure-scan",
            "subscription": "acme-flex",
            "event_id": "scan-1",
            "value": '{"specversion": "1.0", "id": "scan-1"}',
            "value_bytes": 38,
            "version": 1,
        }
    },
    "unitpool.metering.usage.settled.v1": {
        "record": "4711",
        "settled_at": _AT,
        "settled_as": "applied",
        "version": 2,
    },
    "unitpool.metering.quarantine-replay.changed.v1": {
        "replay": {
            "id": "replay-1",
            "wanted": {"reason": "product_not_subscribed", "product": "exposure-scan"},
            "requested_at": _AT,
            "requested_by": _VERA,
            "state": "finished",
            "total": 120,
            "judged": 120,
            "applied": 118,
            "duplicate": 1,
            "quarantined": 1,
            "finished_at": _AT,
            "version": 3,
        }
    },
    "unitpool.metering.books.changed.v1": {
        "line": {
            "day": "2026-11-24",
            "source": "/platforms/exposure-scan",
            "product": "exposure-scan",
            "accepted": 1000,
            "applied": 940,
            "duplicate": 50,
            "quarantined": 10,
            "revision": 12,
        }
    },
    "unitpool.metering.command.decided.v1": {
        **_DECIDED,
        "command": "unitpool.metering.create-ingest-key.v1",
        "actor": _VERA,
        "resource": "key-1",
        "version": 1,
    },
    "unitpool.alerts.alert.raised.v1": {"alert": _ALERT},
    "unitpool.alerts.alert.acknowledged.v1": {"alert": {**_ALERT, **_ACKNOWLEDGED, "version": 2}},
    "unitpool.alerts.alert.resolved.v1": {"alert": {**_ALERT, **_ACKNOWLEDGED, "state": "resolved", "version": 3}},
    "unitpool.alerts.channel.changed.v1": {
        "channel": {
            "id": "channel-1",
            "subscription": "acme-flex",
            "kind": "webhook",
            "url": "https://hooks.acme.example/unitpool",
            "created_by": _PAULA,
            "created_at": _AT,
            "version": 1,
        }
    },
    "unitpool.alerts.delivery.settled.v1": {
        "delivery": "6f2d8d5c-52a5-5c7e-9a55-3a4e8d2f1b02",
        "alert": _ALERT["id"],
        "subscription": "acme-flex",
        "channel": "channel-1",
        "outcome": "dead",
        "attempts": 29,
        "settled_at": "2026-11-27T09:40:00Z",
        "last_error": "HTTP 503",
    },
    "unitpool.alerts.command.decided.v1": {
        "command_id": _COMMAND,
        "command": "unitpool.alerts.acknowledge-alert.v1",
        "actor": "victor@acme.example",
        "decided_at": _AT,
        "refusal": {
            "code": "forbidden",
            "message": "Only the primary contact, an allocator or the vendor may acknowledge alerts.",
            "details": {},
        },
    },
    "unitpool.audit.decision.recorded.v1": {
        "record": {
            "at": _AT,
            "account": "acme",
            "subscription": "acme-flex",
            "actor": _PAULA,
            "address": "203.0.113.7",
            "action": "apply_plan",
            "object": "acme-flex",
            "before": {"exposure-scan": 800},
            "after": {"exposure-scan": 1000},
            "outcome": "allowed",
            "correlation_id": _COMMAND,
        }
    },
}
_COMMANDS: dict[str, Data] = {
    "unitpool.allocation.create-account.v1": {"account": "acme", "name": "Acme"},
    "unitpool.allocation.set-flex.v1": {"account": "acme", "enabled": True, "reason": "ordered with PO-4711"},
    "unitpool.allocation.create-product.v1": {
        "product": "exposure-scan",
        "name": "Exposure Scan",
        "sources": ["/platforms/exposure-scan"],
    },
    "unitpool.allocation.create-meter.v1": {
        "product": "cloud-posture",
        "meter": "function",
        "name": "Functions",
        "aggregation": "peak",
        "reset": "window",
        "units": 8,
        "block": 100,
        "effective_from": "2026-01-01T00:00:00Z",
    },
    "unitpool.allocation.set-rate.v1": {
        "product": "cloud-posture",
        "meter": "function",
        "units": 7,
        "block": 100,
        "effective_from": "2027-01-01T00:00:00Z",
    },
    "unitpool.allocation.create-subscription.v1": {
        "subscription": "acme-flex",
        "account": "acme",
        "name": "Acme Flex",
        "model": "flex",
        "start": "2026-11-01T00:00:00Z",
        "end": "2027-11-01T00:00:00Z",
        "unit_label": "Units",
        "primary_contact": {"email": _PAULA, "name": "Paula Primary"},
    },
    "unitpool.allocation.purchase-lot.v1": {
        "subscription": "acme-flex",
        "lot": "lot-1",
        "units": 10000,
        "order_reference": "PO-4711",
        "start": "2026-11-01T00:00:00Z",
        "end": "2027-11-01T00:00:00Z",
    },
    "unitpool.allocation.subscribe-product.v1": {"subscription": "acme-flex", "product": "exposure-scan"},
    "unitpool.allocation.set-policy.v1": {"subscription": "acme-flex", "product": "exposure-scan", "overage": "soft"},
    "unitpool.allocation.apply-plan.v1": {
        "subscription": "acme-flex",
        "changes": [{"product": "exposure-scan", "units": 1000}],
        "preview": False,
        "accept_overage": False,
        "expected_version": 4,
        "seen": [{"product": "exposure-scan", "window_start": "2026-11-16T00:00:00Z", "revision": 17}],
    },
    "unitpool.allocation.void-lot.v1": {"subscription": "acme-flex", "lot": "lot-1", "reason": "ordered twice"},
    "unitpool.allocation.cancel-subscription.v1": {"subscription": "acme-flex", "reason": "the customer left"},
    "unitpool.allocation.renew-subscription.v1": {
        "subscription": "acme-flex",
        "end": "2028-11-01T00:00:00Z",
        "units": 12000,
        "order_reference": "PO-4712",
        "lot": "lot-2",
    },
    "unitpool.allocation.convert-subscription.v1": {"subscription": "acme-classic", "model": "flex"},
    "unitpool.allocation.lock-rates.v1": {"subscription": "acme-flex", "locked": True},
    "unitpool.allocation.unsubscribe-product.v1": {"subscription": "acme-flex", "product": "risk-hub"},
    "unitpool.allocation.retire-product.v1": {"product": "exposure-scan"},
    "unitpool.allocation.set-role-templates.v1": {"product": "exposure-scan", **_TEMPLATES},
    "unitpool.allocation.set-price-list.v1": _PRICE_LIST,
    "unitpool.allocation.set-primary-contact.v1": {"subscription": "acme-flex", "email": "petra@acme.example"},
    "unitpool.allocation.set-grants.v1": {
        "subscription": "acme-flex",
        "email": "alan@acme.example",
        "grants": ["allocator"],
    },
    "unitpool.allocation.add-person.v1": {"account": "acme", "email": "alan@acme.example", "name": "Alan Allocator"},
    "unitpool.allocation.change-person.v1": {"account": "acme", "email": "alan@acme.example", "enabled": False},
    "unitpool.allocation.remove-person.v1": {"account": "acme", "email": "alan@acme.example"},
    "unitpool.allocation.create-role.v1": {
        "account": "acme",
        "role": "night-shift",
        "product": "exposure-scan",
        "name": "Night shift",
        "permissions": ["page.use", "findings.read"],
    },
    "unitpool.allocation.change-role.v1": {
        "account": "acme",
        "role": "exposure-scan-reader",
        "permissions": ["page.use"],
    },
    "unitpool.allocation.reset-role.v1": {"account": "acme", "role": "exposure-scan-reader"},
    "unitpool.allocation.set-role-member.v1": {
        "account": "acme",
        "role": "exposure-scan-reader",
        "email": "alan@acme.example",
        "member": True,
    },
    "unitpool.metering.create-ingest-key.v1": {
        "key": "key-1",
        "product": "exposure-scan",
        "secret_sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "expires_at": "2027-11-24T10:15:00Z",
    },
    "unitpool.metering.revoke-ingest-key.v1": {"key": "key-1"},
    "unitpool.metering.rotate-ingest-key.v1": {
        "key": "key-1",
        "new_key": "key-2",
        "secret_sha256": "60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752",
        "overlap_seconds": 86400,
    },
    "unitpool.metering.replay-quarantine.v1": {
        "replay": "replay-1",
        "wanted": {"reason": "product_not_subscribed", "product": "exposure-scan"},
    },
    "unitpool.alerts.acknowledge-alert.v1": {"subscription": "acme-flex", "alert": _ALERT["id"]},
    "unitpool.alerts.add-channel.v1": {
        "subscription": "acme-flex",
        "channel": "channel-1",
        "kind": "webhook",
        "url": "https://hooks.acme.example/unitpool",
        "sealed_secret": "eyJhbGciOiJkaXIifQ..c2VhbGVk.c2VjcmV0.dGFn",
    },
    "unitpool.alerts.remove-channel.v1": {"subscription": "acme-flex", "channel": "channel-1"},
}


class NoExampleError(LookupError):
    """A type has no example yet: add one to ``shared/events/schemas/examples.py``."""


def example_of(payload: type[Payload]) -> dict[str, Any]:
    """A whole event of this type, as it is written into its golden file the first time.

    Raises:
        NoExampleError: nobody has thought of one.
    """
    name = payload.event_type
    data = {**_EVENTS, **_COMMANDS}.get(name)
    if data is None:
        raise NoExampleError(f"{name} has no example yet: add one to shared/events/schemas/examples.py")
    envelope: Data = {
        "specversion": "1.0",
        "id": _COMMAND if name in _COMMANDS else f"example-of-{name}",
        "source": "/reporting" if name in _COMMANDS else _source(name),
        "type": name,
        "time": _AT,
        "datacontenttype": "application/json",
    }
    if name in _COMMANDS:
        envelope |= {"correlationid": _COMMAND, "actor": _PAULA, "actorvendor": False, "actoraddress": "203.0.113.7"}
    if name.startswith("unitpool.platform."):
        envelope["subject"] = "acme-flex"
    Event[payload].model_validate({**envelope, "data": data})  # type: ignore[valid-type]
    return {**envelope, "data": data}


def _source(name: str) -> str:
    producer = name.split(".")[1]
    return "/platforms/exposure-scan" if producer == "platform" else f"/{producer.replace('audit', 'allocation')}"
