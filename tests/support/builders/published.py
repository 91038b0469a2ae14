"""Builders of states and events as the other services publish them."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

from shared.events.alerts import AlertRaised, AlertState
from shared.events.allocation import (
    AccountCreated,
    AllocationChange,
    PersonChanged,
    PlanApplied,
    ProductChanged,
    SubscriptionCreated,
)
from shared.events.envelope import Event, Payload
from shared.events.metering import ConsumptionSnapshot, DailyUsageMeasured, MeterConsumption
from shared.events.state import (
    AccountState,
    GrantedTo,
    Lot,
    Meter,
    PersonState,
    ProductState,
    Rate,
    RebalanceClock,
    SubscribedProduct,
    SubscriptionState,
    Term,
)
from shared.windows import Calendar
from tests.support.builders.people import person_id, text_key

START = datetime(2026, 1, 1, tzinfo=UTC)
NOW = START + timedelta(days=50, hours=3)
VENDOR, PRIMARY, STRANGER = "vera@unitpool.example", "paula@acme.example", "sam@globex.example"
VIEWER, ALLOCATOR, AUDITOR, USERADMIN = (f"{name}@acme.example" for name in ("victor", "alan", "audrey", "uma"))
CALENDAR = Calendar((START,))
WINDOW = CALENDAR.window_at(NOW)


def event(
    payload: Payload,
    *,
    id: str | None = None,
    actor: str | None = None,
    time: datetime = NOW,
    causation: str | None = None,
) -> Event[Any]:
    """A payload in its envelope."""
    wrapped: Event[Any] = Event[type(payload)].of(  # type: ignore[misc]
        payload, id=id or str(uuid4()), source="/test", time=time, actor=actor, causationid=causation
    )
    return wrapped


def person(email: str, name: str = "Somebody", version: int = 1, **more: Any) -> PersonChanged:
    """A person of Acme, whose id is derived from the address."""
    values = {"id": person_id(email), "account": "acme", "email": email, "name": name, "version": version}
    return PersonChanged(person=PersonState.model_validate({"text_key": text_key(email), **values, **more}))


def team() -> list[PersonChanged]:
    """All people of Acme's subscription."""
    return [person(one) for one in (PRIMARY, VIEWER, ALLOCATOR, AUDITOR, USERADMIN)]


def outsiders() -> list[PersonChanged]:
    """People without an account: an operator of the vendor, and a stranger."""
    return [person(one, account=None) for one in (VENDOR, STRANGER)]


def account(id: str = "acme", version: int = 1, **more: Any) -> AccountCreated:
    """An account."""
    values = {"id": id, "name": id.title(), "flex_enabled": True, "version": version, **more}
    return AccountCreated(account=AccountState(**values))


def product(
    id: str = "scan", *, aggregation: str = "unique", reset: str = "window", version: int = 1
) -> ProductChanged:
    """A product with one meter, at one unit per thing."""
    rate = Rate(version=1, units=1, block=1, effective_from=START)
    meter = Meter.model_validate(
        {"meter": "host", "name": "Hosts", "aggregation": aggregation, "reset": reset, "rates": [rate]}
    )
    state = ProductState.model_validate(
        {"id": id, "name": id.title(), "sources": [], "meters": [meter], "version": version}
    )
    return ProductChanged(product=state, change="created")


def subscription(
    id: str = "sub-1", version: int = 1, allocated: dict[str, int] | None = None, **more: Any
) -> SubscriptionState:
    """Acme's subscription: 1,000 units, with all people of the demo."""
    allocated = {"scan": 400} if allocated is None else allocated
    values: dict[str, Any] = {
        "id": id,
        "account": "acme",
        "name": "Acme Flex",
        "model": "flex",
        "state": "active",
        "term": Term(start=START, end=START + timedelta(days=365)),
        "window_days": 15,
        "primary_contact": person_id(PRIMARY),
        "grants": [
            GrantedTo(person=person_id(VIEWER), grant="viewer"),
            GrantedTo(person=person_id(ALLOCATOR), grant="allocator"),
            GrantedTo(person=person_id(AUDITOR), grant="auditor"),
            GrantedTo(person=person_id(USERADMIN), grant="useradmin"),
        ],
        "lots": [lot(1000)],
        "products": [SubscribedProduct(product=p, allocated=n, subscribed_at=START) for p, n in allocated.items()],
        "rebalance": RebalanceClock(every_days=90),
        "version": version,
        **more,
    }
    return SubscriptionState.model_validate(values)


def lot(units: int) -> Lot:
    """A lot of the whole term."""
    return Lot(
        id=f"lot-{units}",
        units=units,
        start=START,
        end=START + timedelta(days=365),
        order_reference="PO-1",
        purchased_at=START,
    )


def created(state: SubscriptionState | None = None) -> SubscriptionCreated:
    """An event of a subscription."""
    return SubscriptionCreated(subscription=state or subscription())


def plan(state: SubscriptionState, before: int, after: int, product: str = "scan") -> PlanApplied:
    """An applied plan with one change."""
    change = AllocationChange(product=product, before=before, after=after)
    kind = "rebalance" if after < before else "allocation"
    return PlanApplied.model_validate(
        {"subscription": state, "kind": kind, "changes": [change], "starts_clock": after < before}
    )


def snapshot(
    consumed: int,
    *,
    revision: int = 1,
    windows_ago: int = 0,
    product: str = "scan",
    reset: str = "window",
    sub: str = "sub-1",
) -> ConsumptionSnapshot:
    """A snapshot of what a product consumed in a window."""
    window = WINDOW
    for _ in range(windows_ago):
        window = CALENDAR.before(window)
    meter = MeterConsumption.model_validate(
        {
            "meter": "host",
            "aggregation": "unique" if reset == "window" else "sum",
            "reset": reset,
            "aggregate": Decimal(consumed),
            "units": 1,
            "block": 1,
            "rate_version": 1,
            "consumed": consumed,
        }
    )
    return ConsumptionSnapshot.model_validate(
        {
            "subscription": sub,
            "product": product,
            "window_start": window.start,
            "window_end": window.end,
            "revision": revision,
            "consumed": consumed,
            "meters": [meter],
            "as_of": NOW,
        }
    )


def usage_day(day: date, hours: dict[int, int], *, revision: int = 1, **more: Any) -> DailyUsageMeasured:
    """A day of scan's hosts: how many new ones were seen in each hour."""
    values: dict[str, Any] = {
        "subscription": "sub-1",
        "product": "scan",
        "meter": "host",
        "day": day,
        "aggregation": "unique",
        "aggregate": sum(hours.values()),
        "hours": [{"hour": hour, "aggregate": new} for hour, new in hours.items()],
        "revision": revision,
        "as_of": NOW,
        **more,
    }
    return DailyUsageMeasured.model_validate(values)


def alert(id: str = "alert-1", version: int = 1, **more: Any) -> AlertRaised:
    """An alert of a product that reached 80 %."""
    values: dict[str, Any] = {
        "id": id,
        "subscription": "sub-1",
        "account": "acme",
        "rule": "product_consumption",
        "scope": "product",
        "product": "scan",
        "severity": "warning",
        "threshold": 80,
        "value_at": Decimal("80.5"),
        "part": 322,
        "limit": 400,
        "window_start": WINDOW.start,
        "window_end": WINDOW.end,
        "raised_at": NOW,
        "state": "active",
        "message": "Scan reached 80 %.",
        "actions": ["600 units are unallocated."],
        "version": version,
        **more,
    }
    return AlertRaised(alert=AlertState.model_validate(values))
