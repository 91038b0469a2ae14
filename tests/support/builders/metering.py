"""A small catalogue with subscriptions, and records as the broker delivers them."""

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

from services.metering.handlers.measure_days import DayMeasurement
from services.metering.store import hours, measured_days, projection
from shared.events.daily_usage import UsageDay
from shared.events.ids import AccountId, LotId, MeterId, ProductId, SubscriptionId
from shared.events.state import (
    Aggregation,
    Lot,
    Meter,
    ProductState,
    Rate,
    RebalanceClock,
    Reset,
    SubscribedProduct,
    SubscriptionState,
    Term,
)
from shared.runtime.postgres.pool import Connection
from shared.runtime.records import Record
from tests.support.builders.people import person_id

START = datetime(2026, 10, 1, 6, 30, tzinfo=UTC)
NOW = datetime(2026, 11, 24, 10, tzinfo=UTC)


def meter(
    name: str,
    aggregation: Aggregation,
    reset: Reset = "window",
    *,
    units: int = 1,
    block: int = 1,
    later: tuple[int, int, datetime] | None = None,
) -> Meter:
    """Build a meter with one rate.

    ``later``: a second rate, as units, block and start.
    """
    rates = [Rate(version=1, units=units, block=block, effective_from=START)]
    if later:
        rates.append(Rate(version=2, units=later[0], block=later[1], effective_from=later[2]))
    return Meter(meter=MeterId(name), name=name, aggregation=aggregation, reset=reset, rates=tuple(rates))


def product(name: str, *meters: Meter, version: int = 1, **changes: Any) -> ProductState:
    """Build a product."""
    return ProductState(
        id=ProductId(name), name=name, sources=(f"/platforms/{name}",), meters=meters, version=version, **changes
    )


PRODUCTS = (
    product("scan", meter("host", "unique")),
    product("calls", meter("call", "sum", "term", block=10), meter("request", "count")),
    product("web", meter("app", "peak", units=12), meter("cert", "latest")),
    product(
        "all",
        *(
            meter(f"{kind}-{reset}", kind, reset, units=3, block=7, later=(5, 4, NOW - timedelta(days=12)))
            for kind in get_args(Aggregation)
            for reset in get_args(Reset)
        ),
    ),
)


def subscription(
    name: str,
    products: Iterable[str],
    *,
    version: int = 1,
    start: datetime = START,
    allocated: int = 100,
    renewed: datetime | None = None,
) -> SubscriptionState:
    """An active subscription with one lot; ``renewed``: when its second term began."""
    end = renewed or start + timedelta(days=365)
    first = Term(start=start, end=end)
    second = Term(start=end, end=end + timedelta(days=365))
    return SubscriptionState(
        id=SubscriptionId(name),
        account=AccountId("acme"),
        name=name,
        model="flex",
        state="active",
        term=second if renewed else first,
        terms=(first, second) if renewed else (),
        window_days=15,
        primary_contact=person_id("paula@acme.example"),
        lots=(Lot(id=LotId("lot"), units=1000, start=start, end=end, order_reference="PO", purchased_at=start),),
        products=tuple(
            SubscribedProduct(product=ProductId(name), allocated=allocated, subscribed_at=start) for name in products
        ),
        rebalance=RebalanceClock(every_days=90),
        version=version,
    )


SUBSCRIPTIONS = (
    subscription("sub-1", ("scan", "calls", "web")),
    subscription("sub-2", ("scan", "calls", "web"), start=START + timedelta(days=4)),
    subscription("sub-3", ("scan", "all"), renewed=NOW - timedelta(days=17, hours=5)),
)


async def save_catalogue(connection: Connection) -> None:
    """Store the catalogue and the subscriptions."""
    async with connection.transaction():
        await projection.save(connection, SUBSCRIPTIONS, PRODUCTS)


def event(
    id: str,
    product: str = "scan",
    meter: str = "host",
    *,
    subject: str = "sub-1",
    at: datetime = NOW,
    **data: Any,
) -> dict[str, Any]:
    """Build a usage event."""
    return {
        "specversion": "1.0",
        "id": id,
        "source": f"/platforms/{product}",
        "type": "unitpool.platform.usage.recorded.v1",
        "subject": subject,
        "time": at.isoformat(),
        "data": {"product": product, "meter": meter, **data},
    }


def reversal(id: str, of: dict[str, Any], /, *, at: datetime = NOW, **changes: Any) -> dict[str, Any]:
    """Build a reversal of ``of``; ``changes`` are made to its data."""
    names = {"product": of["data"]["product"], "source": of["source"], "id": of["id"], "reason": "by mistake"}
    return {
        **event(id, of["data"]["product"], subject=of["subject"], at=at),
        "type": "unitpool.platform.usage.reversed.v1",
        "data": {**names, **changes},
    }


def purge(
    id: str, resource: str, product: str = "scan", meter: str = "host", *, subject: str = "sub-1", at: datetime = NOW
) -> dict[str, Any]:
    """Build a purge of a resource."""
    return {
        **event(id, product, subject=subject, at=at),
        "type": "unitpool.platform.resource.purged.v1",
        "data": {"product": product, "meter": meter, "resource": resource},
    }


def records(
    events: Sequence[dict[str, Any] | bytes | None], *, first: int = 0, partition: int = 0, at: datetime = NOW
) -> list[Record]:
    """Build records of one partition from events."""
    return [
        Record(
            "usage.events",
            partition,
            first + n,
            b"key",
            json.dumps(item).encode() if isinstance(item, dict) else item,
            (),
            at,
        )
        for n, item in enumerate(events)
    ]


async def measure_days(connection: Connection, now: datetime = NOW) -> list[UsageDay]:
    """Add usage to hours, and measure all due days.

    Return them as they are published.
    """
    await add_hours(connection)
    due = await measured_days.load_due(connection, 10**6, 10**6, now)
    measurement = DayMeasurement(connection, await projection.Projection().refresh(connection), now)
    published = [one async for days in measurement.run(due.days) for one in days]
    assert not measurement.failed, measurement.failed
    await measured_days.delete_due(connection, due.ids)
    return published


async def add_hours(connection: Connection) -> None:
    """Add all due rows to hours."""
    async with connection.transaction():
        await hours.add_all(connection)
