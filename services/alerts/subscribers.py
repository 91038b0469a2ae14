"""The Kafka edge: batches of records become changes, applied in the batch's transaction."""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any

from services.alerts.domain.measures import Reading
from services.alerts.handlers.watching import Change, apply_changes
from services.alerts.store.catalogue import upsert_product
from shared.events.allocation import (
    LotPurchased,
    PlanApplied,
    PolicyChanged,
    ProductChanged,
    ProductSubscribed,
    SubscriptionCreated,
)
from shared.events.envelope import Event, Payload, UndecodableError, by_type, decode
from shared.events.metering import ConsumptionSnapshot
from shared.runtime.delivery import PermanentError, Record, Transaction, TransientError

SUBSCRIPTION_EVENTS = (SubscriptionCreated, LotPurchased, ProductSubscribed, PolicyChanged, PlanApplied)
ALLOCATION_TYPES = by_type((ProductChanged, *SUBSCRIPTION_EVENTS))
CONSUMPTION_TYPES = by_type((ConsumptionSnapshot,))

CaughtUp = Callable[[], Awaitable[bool]]
"""Whether ``allocation.events`` has been applied as far as it reached when this process started."""


async def on_allocation(tx: Transaction, records: Sequence[Record]) -> None:
    """Names of products, and the states of subscriptions."""
    changes = []
    for event in _events(tx, records, ALLOCATION_TYPES):
        if isinstance(event.data, ProductChanged):
            await upsert_product(tx.connection, event.data.product)
        else:
            state = event.data.subscription
            changes.append(Change(state.id, state, event))
    tx.record = None
    if changes:
        await apply_changes(tx, changes)


class ConsumptionSubscriber:
    """Consumption is compared with allocations only once those are known: old ones would raise false alerts."""

    def __init__(self, caught_up: CaughtUp) -> None:
        self._caught_up = caught_up

    async def on_consumption(self, tx: Transaction, records: Sequence[Record]) -> None:
        """Snapshots of consumption."""
        if not await self._caught_up():
            raise TransientError("allocation.events is still being read", delay_seconds=0.3)
        changes = [
            Change(event.data.subscription, Reading.of(event.data), event)
            for event in _events(tx, records, CONSUMPTION_TYPES)
        ]
        tx.record = None
        if changes:
            await apply_changes(tx, changes)


def _events(tx: Transaction, records: Sequence[Record], payloads: Mapping[str, type[Payload]]) -> Iterator[Event[Any]]:
    """The events that we take, in order.

    Raises:
        PermanentError: a record is not what its type promises.
    """
    for record in records:
        tx.record = record
        try:
            event = decode(record.value, payloads) if record.value is not None else None
        except UndecodableError as error:
            raise PermanentError("malformed", str(error)) from error
        if event is not None:
            yield event
