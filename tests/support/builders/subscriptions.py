"""Builders of subscriptions, and decisions of plans on them."""

from datetime import UTC, datetime, timedelta
from typing import Any

from services.allocation.domain.floor import Consumption
from services.allocation.domain.plans import Decided, decide
from services.allocation.domain.subscriptions import Subscription
from shared.events.commands.plans import ApplyPlan, PlannedChange
from shared.events.ids import AccountId, LotId, ProductId, SubscriptionId
from shared.events.refusals import Refusal
from shared.events.state import (
    GrantedTo,
    Lot,
    RebalanceClock,
    SubscribedProduct,
    SubscriptionState,
    Term,
)
from tests.support.builders.people import person_id

START = datetime(2026, 1, 1, tzinfo=UTC)
END = START + timedelta(days=365)
NOW = START + timedelta(days=100)
TICK = timedelta(microseconds=1)
NINETY_DAYS = timedelta(days=90)


def lot(units: int, *, name: str = "lot-1", start: datetime = START, end: datetime = END) -> Lot:
    """A lot of the whole term."""
    return Lot(id=LotId(name), units=units, start=start, end=end, order_reference="PO-1", purchased_at=start)


def subscription(
    purchased: int = 1000,
    /,
    *,
    every_days: int = 90,
    scope: Any = "subscription",
    last_at: datetime | None = None,
    lowered: dict[str, datetime] | None = None,
    policies: dict[str, Any] | None = None,
    retired: frozenset[str] = frozenset(),
    flex_enabled: bool = True,
    model: Any = "flex",
    lots: tuple[Lot, ...] | None = None,
    **allocated: int,
) -> Subscription:
    """A subscription with these units and these allocations (``scan=600``)."""
    products = tuple(
        SubscribedProduct(
            product=ProductId(name),
            allocated=units,
            policy=(policies or {}).get(name, "soft"),
            subscribed_at=START,
            last_lowered_at=(lowered or {}).get(name),
        )
        for name, units in allocated.items()
    )
    state = SubscriptionState(
        id=SubscriptionId("s-1"),
        account=AccountId("acme"),
        name="Acme Flex",
        model=model,
        state="active",
        term=Term(start=START, end=END),
        window_days=15,
        primary_contact=person_id("paula@acme.example"),
        grants=(
            GrantedTo(person=person_id("alan@acme.example"), grant="allocator"),
            GrantedTo(person=person_id("victor@acme.example"), grant="viewer"),
            GrantedTo(person=person_id("audrey@acme.example"), grant="auditor"),
            GrantedTo(person=person_id("uma@acme.example"), grant="useradmin"),
        ),
        lots=(lot(purchased),) if lots is None else lots,
        products=products,
        rebalance=RebalanceClock(every_days=every_days, scope=scope, last_at=last_at),
        version=7,
    )
    return Subscription(state, flex_enabled, START, frozenset(ProductId(one) for one in retired))


def plan(
    of: Subscription,
    /,
    *,
    now: datetime = NOW,
    consumed: dict[str, int] | None = None,
    options: dict[str, Any] | None = None,
    **units: int,
) -> Decided | Refusal:
    """Decide a plan with these units for these products."""
    changes = tuple(PlannedChange(product=ProductId(name), units=number) for name, number in units.items())
    requested = ApplyPlan.model_validate({"subscription": "s-1", "changes": changes, **(options or {})})
    consumptions = {ProductId(name): Consumption(level=number) for name, number in (consumed or {}).items()}
    return decide(of, requested, consumptions, now)


def accepted(decision: Decided | Refusal) -> Decided:
    """Return the accepted plan; fail if it was refused."""
    assert isinstance(decision, Decided), decision
    return decision


def refused(decision: object) -> tuple[str, dict[str, Any]]:
    """Return the refusal's code and details, without ``next_allowed_at``.

    Every refusal of a plan has that field.
    """
    assert isinstance(decision, Refusal), decision
    numbers = {key: value for key, value in decision.details.items() if key != "next_allowed_at"}
    return decision.code, numbers
