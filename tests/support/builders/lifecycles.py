"""Builders of a subscription's lifecycle, and runs of metering's tasks.

States are as allocation publishes them; tasks are run until nothing is due.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import count, islice
from typing import Any
from uuid import uuid4

from services.metering.handlers.apply_corrections import apply_due_corrections
from services.metering.handlers.apply_usage import UsageApplier
from services.metering.handlers.move_usage import move_due_usage
from services.metering.handlers.project import project_subscription
from services.metering.handlers.publish_snapshots import SnapshotRelay
from services.metering.handlers.retry_quarantine import retry_quarantined
from services.metering.store import moves
from services.metering.store.projection import Projection
from shared.events.allocation import SubscriptionCreated
from shared.events.envelope import Event, by_type, decode
from shared.events.ids import ProductId
from shared.events.metering import CONSUMPTION, ConsumptionSnapshot
from shared.events.state import Span, SubscribedProduct, SubscriptionState, Term
from shared.runtime.delivery.transaction import Transaction
from shared.runtime.postgres.pool import Connection
from shared.runtime.records import Outgoing
from tests.support.builders.metering import NOW
from tests.support.drivers.metering_clients import until

_SETTLED = """
SELECT NOT EXISTS (SELECT FROM move_due) AND NOT EXISTS (SELECT FROM correction WHERE looks_from IS NOT NULL)
"""
YEAR = timedelta(days=365)


def changed(state: SubscriptionState, /, **changes: Any) -> SubscriptionState:
    """Copy the state as the next version, with these fields changed."""
    return state.model_copy(update={**changes, "version": state.version + 1})


def renewed(state: SubscriptionState, start: datetime | None = None) -> SubscriptionState:
    """Add a term that begins where the last one ends, or at ``start``."""
    last = state.all_terms[-1]
    begins = start or last.end
    return changed(state, terms=(*state.all_terms, Term(start=begins, end=begins + YEAR)))


def cancelled(state: SubscriptionState, at: datetime) -> SubscriptionState:
    """Cancel the subscription at ``at``."""
    return changed(state, state="cancelled", cancelled_at=at)


def gave_up(state: SubscriptionState, product: str, at: datetime) -> SubscriptionState:
    """End the use of ``product`` at ``at``."""
    return _with(state, product, lambda one: one.model_copy(update={"ended_at": at, "allocated": 0}))


def took_again(state: SubscriptionState, product: str, at: datetime) -> SubscriptionState:
    """Subscribe again at ``at`` to a product whose use has ended."""

    def again(one: SubscribedProduct) -> SubscribedProduct:
        assert one.ended_at
        earlier = (*one.earlier, Span(start=one.subscribed_at, end=one.ended_at))
        return SubscribedProduct(product=one.product, allocated=0, subscribed_at=at, earlier=earlier)

    return _with(state, product, again)


def subscribed(state: SubscriptionState, product: str, at: datetime) -> SubscriptionState:
    """Add a product that was never used before."""
    return changed(
        state, products=(*state.products, SubscribedProduct(product=ProductId(product), allocated=9, subscribed_at=at))
    )


def _with(
    state: SubscriptionState, product: str, change: Callable[[SubscribedProduct], SubscribedProduct]
) -> SubscriptionState:
    products = tuple(change(one) if one.product == product else one for one in state.products)
    return changed(state, products=products)


async def know(connection: Connection, state: SubscriptionState, at: datetime = NOW) -> None:
    """Project the state in metering, as an event of time ``at``."""
    event = Event[Any].of(SubscriptionCreated(subscription=state), id=str(uuid4()), source="/allocation", time=at)
    async with connection.transaction():
        await project_subscription(Transaction(connection, at, service="metering"), event)


async def move(connection: Connection, now: datetime) -> bool:
    """Make one pass of a due move. Return whether one was due."""
    async with connection.transaction():
        due = await moves.lock_next(connection, now)
        if due:
            await move_due_usage(Transaction(connection, now, service="metering"), Projection(), due)
    return due is not None


async def replay(connection: Connection, now: datetime) -> int:
    """Retry quarantined usage once. Return how many records were judged."""
    async with connection.transaction():
        return await retry_quarantined(Transaction(connection, now, service="metering"), UsageApplier(), 100)


async def correct(connection: Connection, now: datetime) -> int:
    """Apply or recheck due corrections once. Return how many."""
    async with connection.transaction():
        tx = Transaction(connection, now, service="metering")
        found = await apply_due_corrections(tx, Projection(), 100)
        await tx.flush()
    return found


async def settle(connection: Connection, since: datetime = NOW) -> None:
    """Run metering's tasks until nothing is due except reversals without a target.

    Rechecks wait for every running transaction of the server, including those of other databases.
    """

    hours = count()

    async def is_settled() -> bool:
        for hour in islice(hours, 6):
            now = since + timedelta(hours=hour, seconds=5)
            while await move(connection, now) or await replay(connection, now) or await correct(connection, now):
                pass
        return bool(await connection.fetchval(_SETTLED))

    await until(is_settled, bool, 60)


class Reader:
    """A reader of snapshots that stores the newest revision of each key."""

    def __init__(self, connection: Connection) -> None:
        self.known: dict[str, ConsumptionSnapshot] = {}
        self._connection = connection

        async def send(outgoing: list[Outgoing]) -> None:
            for one in outgoing:
                event = decode(one.value or b"", by_type(CONSUMPTION))
                assert event is not None
                known = self.known.get(event.data.key)
                if known is None or known.revision < event.data.revision:
                    self.known[event.data.key] = event.data

        async def opened() -> Connection:
            return connection

        self._relay = SnapshotRelay(opened, send, lambda: NOW, Projection(), interval_seconds=0)

    async def read(self) -> None:
        """Publish due snapshots to this reader until none is due."""
        while await self._relay.publish(self._connection):
            pass
