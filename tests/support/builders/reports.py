"""Events that fill every report: two accounts, three subscriptions, their people."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from shared.events.alerts import AlertAcknowledged, ChannelChanged, ChannelState, DeliverySettled
from shared.events.allocation import RoleChanged
from shared.events.envelope import Event, Payload
from shared.events.ids import MeterId, ProductId, SubscriptionId
from shared.events.metering import ConsumptionSnapshot, DailyUsageMeasured, UsageHour
from shared.events.outcomes import AuditRecord, DecisionRecorded
from shared.events.quarantine import BooksChanged, BooksLine, QuarantinedRecord, UsageQuarantined, UsageSettled
from shared.events.state import (
    GrantedTo,
    Lot,
    Permission,
    Price,
    RoleState,
    RoleTemplate,
    SubscribedProduct,
    SubscriptionState,
    Term,
)
from tests.support.builders.people import person_id, written
from tests.support.builders.published import (
    ALLOCATOR,
    NOW,
    PRIMARY,
    START,
    USERADMIN,
    VENDOR,
    VIEWER,
    account,
    alert,
    created,
    event,
    person,
    plan,
    product,
    snapshot,
    subscription,
    team,
)

THERE = "tom@acme.example"
"""Somebody with a role in ``sub-2`` only, where nobody of ``sub-1`` has one."""
OTHER = "gwen@globex.example"
"""The primary contact of ``sub-3``, of another account."""
PRICE = Price(
    currency="EUR",
    price_list_version=1,
    list_price_minor=1000,
    tier_from_units=0,
    discount_basis_points=1500,
    unit_price_minor=850,
    years="1",
    total_minor=850_000,
)
YEAR = timedelta(days=365)


def lot(id: str, units: int, purchased: datetime = START, **more: Any) -> Lot:
    """A lot of the first term."""
    values = {"id": id, "units": units, "start": START, "end": START + YEAR, "order_reference": "=PO-1", **more}
    return Lot.model_validate({"purchased_at": purchased, **values})


def acme() -> SubscriptionState:
    """Acme's subscription, with a voided lot, a renewal, and a product in overage."""
    following = Term(start=START + YEAR, end=START + 2 * YEAR)
    voided = {"voided_at": NOW - timedelta(days=5), "void_reason": written("a wrong order", VENDOR)}
    return subscription(
        version=3,
        terms=[Term(start=START, end=START + YEAR), following],
        lots=[
            lot("lot-1", 1000, price=PRICE),
            lot("lot-2", 50, NOW - timedelta(days=10), **voided),
            lot("lot-3", 2000, NOW - timedelta(days=1), start=following.start, end=following.end),
        ],
        products=[
            SubscribedProduct(product="scan", allocated=400, subscribed_at=START),
            SubscribedProduct(
                product="calls",
                allocated=100,
                policy="reserve",
                subscribed_at=START,
                over_since=NOW - timedelta(days=3),
            ),
        ],
    )


def acme_second() -> SubscriptionState:
    """Another subscription of Acme, whose people are others."""
    grants = [GrantedTo(person=person_id(THERE), grant="auditor")]
    return subscription(
        "sub-2", primary_contact=person_id("paul@acme.example"), grants=grants, lots=[lot("lot-4", 500)]
    )


def globex() -> SubscriptionState:
    """A subscription of another account."""
    return subscription(
        "sub-3", account="globex", primary_contact=person_id(OTHER), grants=[], lots=[lot("lot-5", 100)]
    )


def states() -> list[Payload | Event[Any]]:
    """Everything but consumption."""
    acme_now = acme()
    return [
        account(),
        account("globex"),
        _product_with_roles(),
        product("calls", aggregation="sum", reset="term"),
        *team(),
        person(THERE),
        person("paul@acme.example"),
        person(OTHER, account="globex"),
        created(acme_now),
        created(acme_second()),
        created(globex()),
        *_roles(),
        *_changes(acme_now),
        *_alerts(),
        *_audit(),
        *_books(),
    ]


def consumption() -> list[ConsumptionSnapshot]:
    """Measurements of three windows: a level, and a meter that burns down."""
    return [
        *(snapshot(300 + ago, windows_ago=ago) for ago in range(3)),
        *(
            snapshot(total, windows_ago=ago, product="calls", reset="term", revision=ago + 1)
            for ago, total in enumerate((130, 90, 40))
        ),
        snapshot(7, sub="sub-3"),
    ]


def days() -> list[DailyUsageMeasured]:
    """Measurements of two days, with their hours."""
    return [
        DailyUsageMeasured(
            subscription=SubscriptionId("sub-1"),
            product=ProductId("scan"),
            meter=MeterId("host"),
            day=(NOW - timedelta(days=ago)).date(),
            aggregation="unique",
            aggregate=Decimal(10 + ago),
            hours=(UsageHour(hour=7, aggregate=Decimal(4)), UsageHour(hour=9, aggregate=Decimal(9))),
            revision=1,
            as_of=NOW,
        )
        for ago in (1, 3)
    ]


def _product_with_roles() -> Payload:
    changed = product()
    template = RoleTemplate(
        role="scan-reader", name="Scan Reader", summary="Reads.", permissions=("page.use", "api.use")
    )
    state = changed.product.model_copy(
        update={
            "permissions": tuple(
                Permission(id=one, category="Access", description=f"May do {one}")
                for one in ("page.use", "api.use", "data.edit")
            ),
            "roles": (template,),
            "roles_version": 1,
        }
    )
    return changed.model_copy(update={"product": state})


def _roles() -> list[Payload]:
    values = {"account": "acme", "product": "scan", "version": 1}
    members = tuple(person_id(one) for one in (VIEWER, THERE))
    reader = {"role": "scan-reader", "name": "Scan Reader", "is_default": True, "members": members}
    own = {"role": "scan-own", "name": "Our own", "is_default": False, "customised": ["data.edit", "gone.now"]}
    custom = reader | {"customised": ["page.use", "data.edit"], "based_on": 1}
    return [RoleChanged(role=RoleState.model_validate({**values, **one})) for one in (custom, own)]


def _changes(state: SubscriptionState) -> list[Payload | Event[Any]]:
    override = plan(state, 500, 400).model_copy(update={"override_reason": written("urgent", VENDOR)})
    return [
        event(plan(state, 0, 500), actor=person_id(PRIMARY), time=NOW - timedelta(days=9), id="plan-1"),
        event(override, actor=person_id(VENDOR), time=NOW - timedelta(days=2), id="plan-2"),
        event(plan(state, 0, 100, "calls"), actor=person_id(ALLOCATOR), time=NOW - timedelta(days=2), id="plan-3"),
    ]


def _alerts() -> list[Payload]:
    acknowledged = {"state": "acknowledged", "acknowledged_by": person_id(ALLOCATOR)}
    second = alert("alert-2", raised_at=NOW - timedelta(days=4), product=None, scope="pool")
    state = alert("alert-1", 2, **acknowledged, acknowledged_at=NOW - timedelta(hours=1)).alert
    channel = ChannelState(
        id="channel-1",
        subscription="sub-1",
        kind="webhook",
        url="https://hooks.example/services/T0/B0/SECRET",
        created_by=person_id(PRIMARY),
        created_at=NOW,
        version=1,
    )
    settled = {"subscription": "sub-1", "channel": "channel-1", "settled_at": NOW}
    return [
        AlertAcknowledged(alert=state.model_copy(update={"raised_at": NOW - timedelta(days=1)})),
        second,
        ChannelChanged(channel=channel),
        *(
            DeliverySettled.model_validate(
                {"delivery": f"delivery-{n}", "alert": "alert-1", "outcome": outcome, "attempts": n, **settled}
            )
            for n, outcome in enumerate(("delivered", "dead"), 1)
        ),
    ]


def recorded(number: int, **fields: Any) -> Event[DecisionRecorded]:
    """A record of the audit log, about Acme unless said otherwise."""
    values = {
        "at": START + timedelta(hours=number),
        "account": "acme",
        "actor": person_id(PRIMARY),
        "address": "192.0.2.1",
        "action": "apply-plan",
        "object": "subscription/sub-1",
        "subscription": "sub-1",
        "after": {"units": number, "share": 0.1, "name": "Zoë \U0001f600 'quoted' \\ \n"},
        "outcome": "allowed",
        "correlation_id": f"request-{number}",
        **fields,
    }
    wrapped: Event[DecisionRecorded] = event(
        DecisionRecorded(record=AuditRecord.model_validate(values)), id=f"event-{number}"
    )
    return wrapped


def _audit() -> list[Event[Any]]:
    members = {"role": "scan-reader", "members": [person_id(VIEWER), person_id(THERE)]}
    role = {"subscription": None, "action": "set-role-member", "object": "account/acme/role/scan-reader"}
    denied = {"actor": person_id(VIEWER), "outcome": "denied", "reason": "Only the primary contact may do this."}
    export = {"action": "apply-plan", "object": "export/audit", "reason": written("=HYPERLINK()", VENDOR)}
    return [
        recorded(1),
        recorded(2, subscription="sub-2", object="subscription/sub-2", actor=person_id(THERE)),
        recorded(3, **denied),
        recorded(4, **role, after=members),
        recorded(5, subscription=None, action="add-person", object=f"account/acme/person/{person_id(THERE)}"),
        recorded(6, subscription=None, action="add-person", object=f"account/acme/person/{person_id(USERADMIN)}"),
        recorded(7, **export, actor=person_id(VENDOR)),
        recorded(8, account="globex", subscription="sub-3", object="subscription/sub-3", actor=person_id(OTHER)),
        recorded(9, account="vendor", subscription=None, action="create-product", object="product/scan"),
        recorded(10, actor="system", after=None, address=None, correlation_id=None),
        recorded(11, actor=person_id("nobody@acme.example")),
    ]


def _books() -> list[Payload]:
    line = {"source": "/platforms/scan", "product": "scan", "revision": 1}
    figures = {"accepted": 10, "applied": 7, "duplicate": 2, "quarantined": 1}
    record = {
        "topic": "usage.events",
        "partition": 0,
        "received_at": NOW,
        "quarantined_at": NOW,
        "detail": "It came too late.",
        "source": "/platforms/scan",
        "product": "scan",
        "value": '{"id": "\0 e"}',
        "value_bytes": 14,
        "version": 1,
    }
    return [
        *(
            BooksChanged(line=BooksLine.model_validate({**line, **figures, "day": NOW.date() - timedelta(days=n)}))
            for n in range(3)
        ),
        *(
            UsageQuarantined(
                record=QuarantinedRecord.model_validate({**record, "id": str(n), "offset": n, "reason": reason})
            )
            for n, reason in enumerate(("too_old", "unknown_meter", "too_old"), 1)
        ),
        UsageSettled(record="2", settled_at=NOW, settled_as="applied", version=2),
    ]
