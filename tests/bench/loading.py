"""Fill the services' databases with the workload, through their stores.

This is faster than by events.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from functools import partial
from itertools import islice
from typing import TypeVar
from uuid import uuid4

from services.alerts.handlers.assess_changes import Change, apply_changes
from services.allocation.domain.advance import next_due
from services.allocation.domain.subscriptions import Subscription
from services.allocation.store.accounts import insert_account
from services.allocation.store.catalogue import insert_meter, insert_product
from services.allocation.store.consumption import upsert_consumption
from services.allocation.store.due_work import insert_due
from services.allocation.store.people import insert_person
from services.allocation.store.subscriptions import insert_subscription, save_subscription
from services.metering.store import projection
from services.reporting.store.accounts import upsert_account
from services.reporting.store.consumption import upsert_snapshots
from services.reporting.store.people import upsert_person
from services.reporting.store.products import upsert_product
from services.reporting.store.subscriptions import upsert_subscription
from shared.events.allocation import SubscriptionCreated
from shared.events.envelope import Event
from shared.events.snapshots import snapshot_of
from shared.events.state import SubscriptionState
from shared.runtime.delivery.transaction import Transaction
from shared.runtime.postgres.pool import Connection
from tests.bench.progress import say
from tests.bench.workload import Workload
from tests.support.servers.databases import connect

SUBSCRIPTIONS_AT_ONCE = 25
WATCHES_AT_ONCE = 500
TENTH = 10
T = TypeVar("T")


async def load_allocation(dsn: str, workload: Workload) -> None:
    """Insert catalogue, customers, subscriptions and present consumption."""
    async with connect(dsn) as connection, connection.transaction():
        for one in workload.accounts():
            await insert_account(connection, one)
        for person in workload.people():
            await insert_person(connection, person)
        for product in workload.products():
            await insert_product(connection, product)
            await insert_meter(connection, product, product.meters[0])
        for state in _read_record(workload, "allocation"):
            await _insert(connection, state, workload.now)
            await upsert_consumption(connection, list(workload.snapshots(state, 2)))


async def _insert(connection: Connection, state: SubscriptionState, now: datetime) -> None:
    empty = state.model_copy(update={"lots": (), "products": ()})
    before = Subscription(empty, flex_enabled=True, settled_at=now)
    after = replace(before, state=state)
    await insert_subscription(connection, before)
    await save_subscription(connection, before, after)
    await insert_due(connection, state.id, next_due(after, now))


async def load_metering(dsn: str, workload: Workload) -> None:
    """Insert catalogue and subscriptions into metering's projection."""
    async with connect(dsn) as connection, connection.transaction():
        await projection.save(connection, list(workload.states()), workload.products())


async def load_alerts(dsn: str, workload: Workload) -> None:
    """Insert the watched subscriptions of alerts."""
    async with connect(dsn) as connection:
        for states in _several(_read_record(workload, "alerts"), WATCHES_AT_ONCE):
            async with connection.transaction():
                tx = Transaction(connection, workload.now, service="alerts")
                await apply_changes(tx, [Change(one.id, one, partial(_created, one, workload.now)) for one in states])
                await tx.flush()


def _created(state: SubscriptionState, now: datetime) -> Event[SubscriptionCreated]:
    created = SubscriptionCreated(subscription=state)
    return Event[SubscriptionCreated].of(created, id=str(uuid4()), source="/allocation", time=now)


async def load_reporting(dsn: str, workload: Workload, windows: int) -> int:
    """Insert catalogue, customers, subscriptions and snapshots; return the number.

    The number is that of the snapshots, which are of the last ``windows`` windows.
    """
    count = 0
    async with connect(dsn) as connection:
        async with connection.transaction():
            for one in workload.accounts():
                await upsert_account(connection, one)
            for product in workload.products():
                await upsert_product(connection, product)
            for person in workload.people():
                await upsert_person(connection, person)
        for states in _several(_read_record(workload, "reporting"), SUBSCRIPTIONS_AT_ONCE):
            snapshots = [snapshot for state in states for snapshot in workload.snapshots(state, windows)]
            count += len(snapshots)
            async with connection.transaction():
                for state in states:
                    await upsert_subscription(connection, state)
                await upsert_snapshots(connection, map(snapshot_of, snapshots))
    return count


def _read_record(workload: Workload, service: str) -> Iterator[SubscriptionState]:
    """Yield the subscriptions; print progress."""
    step = max(1, workload.subscriptions // TENTH)
    for number, state in enumerate(workload.states(), 1):
        yield state
        if number % step == 0:
            say(f"{service}: {number:,} of {workload.subscriptions:,} subscriptions stored")


def _several(items: Iterable[T], count: int) -> Iterator[list[T]]:
    left = iter(items)
    while several := list(islice(left, count)):
        yield several
