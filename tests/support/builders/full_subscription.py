"""A subscription with all that the API can answer.

Reserve, prices, a renewal, exact aggregates and unusual letters.
"""

from datetime import timedelta
from decimal import Decimal
from typing import Any

from shared.events.alerts import AlertAcknowledged, ChannelChanged, ChannelState
from shared.events.allocation import PriceListChanged, ProductChanged, RoleChanged
from shared.events.envelope import Payload
from shared.events.metering import ConsumptionSnapshot, IngestKeyChanged, IngestKeyState
from shared.events.outcomes import AuditRecord, DecisionRecorded
from shared.events.quarantine import (
    BooksChanged,
    BooksLine,
    QuarantinedRecord,
    QuarantineReplay,
    QuarantineReplayChanged,
    UsageQuarantined,
)
from shared.events.state import (
    Lot,
    Price,
    PriceList,
    ProductState,
    RebalanceClock,
    RoleState,
    SubscribedProduct,
    SubscriptionState,
    Term,
)
from tests.support.builders.people import person_id
from tests.support.builders.published import (
    ALLOCATOR,
    AUDITOR,
    NOW,
    PRIMARY,
    START,
    VENDOR,
    VIEWER,
    account,
    alert,
    created,
    event,
    lot,
    person,
    plan,
    snapshot,
    subscription,
)
from tests.support.drivers.reporting import ReportingDriver

END = START + timedelta(days=365)
_ACKNOWLEDGED: dict[str, Any] = {
    **{"rule": "pool_consumption", "scope": "pool", "product": None, "raised_at": NOW - timedelta(days=1)},
    **{"state": "acknowledged", "acknowledged_by": PRIMARY, "acknowledged_at": NOW},
}


async def fill(empty: ReportingDriver) -> None:
    """Apply the events of ``sub-1``, of an empty ``sub-2`` and of their account.

    Also those of the vendor's books.
    """
    state = _subscription(3, 400)
    await empty.apply(
        account(),
        ProductChanged(product=_product("scan"), change="created"),
        ProductChanged(product=_product("hub", retired_at=NOW), change="created"),
        created(state.model_copy(update={"version": 1})),
        created(subscription("sub-2", allocated={}, lots=[])),
        event(plan(state, 300, 400), id="plan-1", actor=PRIMARY),
        alert("alert-1"),
        AlertAcknowledged(alert=alert("alert-2", 2, **_ACKNOWLEDGED).alert),
        *_other_events(),
    )
    await empty.measure(
        _measured("scan", 433), _measured("scan", 390, 1), _measured("hub", 299), snapshot(3, windows_ago=2)
    )


def _product(id: str, **more: Any) -> ProductState:
    rates = [{"version": 1, "units": 1, "block": 1, "effective_from": START}]
    rates += [{"version": 2, "units": 3, "block": 100, "effective_from": START + timedelta(days=3)}]
    meters = [
        {"meter": "host", "name": "Hosts", "aggregation": "unique", "reset": "window", "rates": rates},
        {"meter": "agent-vm", "name": "Agents", "aggregation": "peak", "reset": "window", "rates": rates},
        {"meter": "call", "name": "Calls", "aggregation": "sum", "reset": "term", "rates": rates},
    ]
    permissions = [{"id": "page.use", "category": "Page", "description": "Use the page"}]
    roles = [{"role": "scan-reader", "name": "Reader", "summary": "Reads.", "permissions": ["page.use"]}]
    values = {"id": id, "name": f"{id.title()} \u2013 \u00fc", "sources": ["/p/s"], "meters": meters, "version": 2}
    values |= {"permissions": permissions, "roles": roles, "roles_version": 1}
    return ProductState.model_validate({**values, **more})


def _subscription(version: int, scan: int) -> SubscriptionState:
    subscribed: list[dict[str, Any]] = [
        {"product": "scan", "allocated": scan, "policy": "reserve"},
        {"product": "hub", "allocated": 300, "policy": "hard", "restricted": True},
        {"product": "gone", "allocated": 0, "ended_at": NOW - timedelta(days=1)},
        {"product": "unknown", "allocated": 0},
    ]
    price = Price(
        **{"currency": "EUR", "price_list_version": 1, "list_price_minor": 1000, "tier_from_units": 0},
        **{"discount_basis_points": 1250, "unit_price_minor": 875, "years": "1", "total_minor": 875_000},
    )
    paid: Lot = lot(1000).model_copy(update={"price": price})
    voided: dict[str, Any] = {"id": "wrong", "voided_at": NOW, "void_reason": "a typing error"}
    later: dict[str, Any] = {"id": "next", "start": END, "end": END + timedelta(days=365)}
    return subscription(
        version=version,
        products=[SubscribedProduct.model_validate({"subscribed_at": START, **one}) for one in subscribed],
        lots=[paid, lot(77).model_copy(update=voided), lot(300).model_copy(update=later)],
        terms=(
            Term(start=START, end=END, rates_locked_at=START + timedelta(hours=1, microseconds=5)),
            Term(start=END, end=END + timedelta(days=365)),
        ),
        rebalance=RebalanceClock(every_days=90, last_at=NOW - timedelta(days=1), next_allowed_at=NOW + timedelta(89)),
    )


def _measured(product: str, consumed: int, windows_ago: int = 0) -> ConsumptionSnapshot:
    base = snapshot(consumed, windows_ago=windows_ago, product=product)
    host = base.meters[0].model_copy(update={"aggregate": Decimal("12.500"), "consumed": consumed - 7})
    call = host.model_copy(
        update={
            **{"meter": "call", "aggregation": "sum", "reset": "term", "rate_version": 2, "consumed": 7},
            **{"aggregate": Decimal(9007199254740993), "window_aggregate": Decimal("0.25"), "window_consumed": 1},
        }
    )
    peak = {"peak_at": NOW - timedelta(hours=3, microseconds=250_000), "aggregation": "peak"}
    return base.model_copy(update={"meters": (host.model_copy(update=peak), call)})


def _other_events() -> list[Payload]:
    channel: dict[str, Any] = {
        "id": "c1",
        "subscription": "sub-1",
        "kind": "webhook",
        "url": "https://hooks.example/abcdefgh",
    }
    channel |= {"created_by": PRIMARY, "created_at": NOW, "version": 1}
    key: dict[str, Any] = {
        "id": "key-1",
        "product": "scan",
        "created_at": NOW,
        "created_by": VENDOR,
        "secret_sha256": "0" * 64,
    }
    role = {"account": "acme", "role": "scan-reader", "product": "scan", "name": "Reader", "is_default": True}
    prices: dict[str, Any] = {"currency": "EUR", "list_price_minor": 1000, "version": 1}
    tiers = [{"from_units": 0, "discount_basis_points": 0}, {"from_units": 1000, "discount_basis_points": 1250}]
    record: dict[str, Any] = {
        "id": "1",
        "topic": "usage.events",
        "partition": 0,
        "offset": 1,
        "received_at": NOW,
        "version": 1,
    }
    record |= {"quarantined_at": NOW, "reason": "unknown_product", "detail": "no such product", "source": "/p/s"}
    books = {"day": NOW.date(), "source": "/p/s", "product": "scan", "revision": 2, "accepted": 10, "applied": 7}
    replay = {"id": "r-1", "wanted": {"product": "scan"}, "requested_at": NOW, "requested_by": VENDOR, "version": 1}
    decided: dict[str, Any] = {
        "at": NOW,
        "account": "acme",
        "subscription": "sub-1",
        "actor": PRIMARY,
        "action": "apply-plan",
    }
    decided |= {"object": "subscription/sub-1", "outcome": "allowed", "before": {"scan": 300}, "after": {"scan": 400}}
    members = person_id(VIEWER), person_id(ALLOCATOR)
    return [
        *(person(email, "J\u00fcrgen") for email in (PRIMARY, VIEWER, ALLOCATOR, AUDITOR)),
        ChannelChanged(channel=ChannelState.model_validate(channel)),
        IngestKeyChanged(ingest_key=IngestKeyState.model_validate({**key, "secret_sha256": "0" * 64, "version": 1})),
        RoleChanged(role=RoleState.model_validate({**role, "members": members, "version": 1})),
        PriceListChanged(price_list=PriceList.model_validate({**prices, "tiers": tiers})),
        UsageQuarantined(record=QuarantinedRecord.model_validate({**record, "product": "scan", "value": "{}"})),
        BooksChanged(line=BooksLine.model_validate({**books, "duplicate": 2, "quarantined": 1})),
        QuarantineReplayChanged(replay=QuarantineReplay.model_validate({**replay, "state": "running"})),
        DecisionRecorded(record=AuditRecord.model_validate(decided)),
    ]
