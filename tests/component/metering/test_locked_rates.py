"""Locked rates apply to windows that were measured before the lock was known."""

from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from services.metering.handlers.project import project_subscription
from services.metering.handlers.publish_snapshots import SnapshotRelay
from services.metering.store.projection import Projection
from shared.events.allocation import RatesLocked
from shared.events.envelope import Event, by_type, decode
from shared.events.metering import CONSUMPTION, ConsumptionSnapshot
from shared.events.state import SubscriptionState
from shared.runtime.delivery.transaction import Transaction
from shared.runtime.postgres.pool import Connection
from shared.runtime.records import Outgoing
from tests.component.metering.test_apply_usage import apply
from tests.support.builders.metering import NOW, SUBSCRIPTIONS, event, records

BEFORE = SUBSCRIPTIONS[2]
"""A subscription in its second term.

This term began 17 days and 5 hours ago, and its newest window 2 days and 5 hours ago. The rates of ``all`` changed from
3/7 to 5/4 twelve days ago.
"""


def locked(at: datetime, version: int = 2) -> SubscriptionState:
    first, second = BEFORE.terms
    term = second.model_copy(update={"rates_locked_at": at})
    return BEFORE.model_copy(update={"term": term, "terms": (first, term), "version": version})


async def project(connection: Connection, state: SubscriptionState) -> None:
    payload = RatesLocked(subscription=state, locked=True)
    message = Event[Any].of(payload, id=str(uuid4()), source="/allocation", time=NOW)
    async with connection.transaction():
        tx = Transaction(connection, NOW, service="metering")
        await project_subscription(tx, message)
        await tx.flush()


async def published(connection: Connection) -> list[ConsumptionSnapshot]:
    """Publish due snapshots; return them in order of their windows."""
    sent: list[Outgoing] = []

    async def send(outgoing: list[Outgoing]) -> None:
        sent.extend(outgoing)

    async def opened() -> Connection:
        return connection

    await SnapshotRelay(opened, send, lambda: NOW, Projection(), interval_seconds=0).publish(connection)
    snapshots = [one.data for one in (decode(out.value or b"", by_type(CONSUMPTION)) for out in sent) if one]
    return sorted(snapshots, key=lambda one: one.window_start)


def figure(of: ConsumptionSnapshot, meter: str) -> tuple[int, int]:
    """Return a meter's consumption and its rate version."""
    return next((one.consumed, one.rate_version) for one in of.meters if one.meter == meter)


def usage(id: str, meter: str, at: datetime) -> dict[str, Any]:
    return event(id, "all", meter, subject="sub-3", at=at, quantity=70)


async def test_windows_get_the_locked_rates_when_they_began_after_the_lock(connection: Connection) -> None:
    older, newer = NOW - timedelta(days=16), NOW - timedelta(days=1)
    for n, meter in enumerate(("sum-window", "sum-term")):
        items = [usage(f"{n}-{place}", meter, at) for place, at in enumerate((older, newer))]
        await apply(connection, records(items, first=10 * n))
    old, new = await published(connection)
    assert (figure(old, "sum-window"), figure(new, "sum-window")) == ((30, 1), (88, 2))
    assert (figure(old, "sum-term"), figure(new, "sum-term")) == ((30, 1), (118, 2))
    await project(connection, locked(NOW - timedelta(days=15)))
    (again,) = await published(connection)
    assert (again.window_start, again.revision) == (new.window_start, new.revision + 1)
    assert (figure(again, "sum-window"), figure(again, "sum-term")) == ((30, 1), (60, 1))
    await apply(connection, records([usage("more", "sum-window", newer)], first=30))
    (more,) = await published(connection)
    assert more.revision > again.revision
    assert figure(more, "sum-window") == (60, 1)


async def test_no_snapshot_is_due_when_a_lock_is_published_again(connection: Connection) -> None:
    await apply(connection, records([usage("u", "sum-window", NOW - timedelta(days=1))]))
    await project(connection, locked(NOW - timedelta(days=15)))
    assert len(await published(connection)) == 1
    await project(connection, locked(NOW - timedelta(days=15)))
    await project(connection, locked(NOW - timedelta(days=15), version=3))
    assert await published(connection) == []


async def test_a_window_is_unchanged_when_the_lock_began_within_it(connection: Connection) -> None:
    await apply(connection, records([usage("u", "sum-window", NOW - timedelta(days=1))]))
    assert len(await published(connection)) == 1
    await project(connection, locked(NOW - timedelta(hours=1)))
    assert await published(connection) == []
