"""The Kafka consumers.

Records are decoded to changes, which are applied in the batch's transaction.
"""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from typing import Any

from services.alerts.domain.measures import Reading
from services.alerts.handlers.assess_changes import Change, ReadingRecord, apply_changes, apply_readings
from services.alerts.handlers.erasures import end_channels_of
from services.alerts.store.catalogue import upsert_product
from shared.events.allocation import ALLOCATION_EVENTS, ErasureChanged, ProductEvent, SubscriptionEvent
from shared.events.envelope import Event, by_type
from shared.events.erasure import ErasureState
from shared.events.ids import SubscriptionId
from shared.events.metering import ConsumptionSnapshot
from shared.events.snapshots import read_figures, snapshot_of
from shared.events.state import ProductState, SubscriptionState
from shared.runtime.delivery.decode import read_event
from shared.runtime.delivery.set_aside_work import Item, SetAside
from shared.runtime.delivery.transaction import Transaction, TransientError
from shared.runtime.records import Record

ALLOCATION_TYPES = by_type(
    one for one in ALLOCATION_EVENTS if issubclass(one, SubscriptionEvent | ProductEvent | ErasureChanged)
)
"""Every event that carries the state of a subscription, a product or an erasure.

Later versions of the contract are included.
"""
CONSUMPTION_TYPES = by_type((ConsumptionSnapshot,))

IsCaughtUp = Callable[[], Awaitable[bool]]
"""A function that says whether ``allocation.events`` is caught up with.

It has then been applied up to its end at the start of this process.
"""


State = ProductState | SubscriptionState | ErasureState


class AllocationSubscriber:
    """The consumer of product names, subscription states and erasures.

    What fails for one of them is set aside.
    """

    def __init__(self, aside: SetAside) -> None:
        self._aside = aside

    async def on_allocation(self, tx: Transaction, records: Sequence[Record]) -> None:
        """Apply a batch of events."""
        if items := list(_states(records)):
            await self._aside.apply(tx, items, partial(_apply_states, tx))

    async def retry(self, tx: Transaction, records: Sequence[Record]) -> None:
        """Apply events that were set aside."""
        await _apply_states(tx, list(_states(records)))


class ConsumptionSubscriber:
    """The consumer of consumption snapshots.

    It waits for the catch-up: old allocations would raise false alerts.
    """

    def __init__(self, caught_up: IsCaughtUp, aside: SetAside) -> None:
        self._caught_up = caught_up
        self._aside = aside

    async def on_consumption(self, tx: Transaction, records: Sequence[Record]) -> None:
        """Apply a batch of snapshots.

        Raises:
            TransientError: the catch-up is not over.
        """
        if not await self._caught_up():
            raise TransientError("allocation.events is still being read", delay_seconds=0.3)
        if items := list(_snapshots(records)):
            await self._aside.apply(tx, items, partial(_apply_readings, tx))

    async def retry(self, tx: Transaction, records: Sequence[Record]) -> None:
        """Apply snapshots that were set aside."""
        await _apply_readings(tx, list(_snapshots(records)))


def _states(records: Sequence[Record]) -> Iterator[Item[tuple[State, Event[Any]]]]:
    for record in records:
        event = read_event(record, ALLOCATION_TYPES)
        if event is None:
            continue
        if isinstance(event.data, SubscriptionEvent):
            subscription = event.data.subscription
            yield Item((subscription, event), subscription.id, record)
        elif isinstance(event.data, ErasureChanged):
            yield Item((event.data.erasure, event), f"person {event.data.erasure.person}", record)
        else:
            yield Item((event.data.product, event), f"product {event.data.product.id}", record)


async def _apply_states(tx: Transaction, items: Sequence[Item[tuple[State, Event[Any]]]]) -> None:
    changes = []
    for state, event in (item.value for item in items):
        if isinstance(state, SubscriptionState):
            changes.append(Change(state.id, state, partial(_return_event, event)))
        elif isinstance(state, ErasureState):
            await end_channels_of(tx, state)
        else:
            await upsert_product(tx.connection, state)
    if changes:
        await apply_changes(tx, changes)


def _snapshots(records: Sequence[Record]) -> Iterator[Item[ReadingRecord]]:
    for record in records:
        if read := _read_record(record):
            yield Item(read, read.subscription, record, _key)


def _key(read: ReadingRecord) -> str:
    reading = read.reading
    return f"{read.subscription}|{reading.product}|{reading.window_start.isoformat()}"


async def _apply_readings(tx: Transaction, items: Sequence[Item[ReadingRecord]]) -> None:
    await apply_readings(tx, [item.value for item in items], _cause)


def _return_event(event: Event[Any]) -> Event[Any]:
    return event


def _read_record(record: Record) -> ReadingRecord | None:
    """Decode a snapshot; ``None`` for a record to ignore.

    Raises:
        PermanentError: the value does not match its type's contract.
    """
    read = None if record.value is None else read_figures(record.value)
    if read is not None:
        return ReadingRecord(SubscriptionId(read.subscription), Reading.of(read), record)
    event = read_event(record, CONSUMPTION_TYPES)
    if event is None:
        return None
    return ReadingRecord(event.data.subscription, Reading.of(snapshot_of(event.data)), record)


def _cause(record: Record) -> Event[Any]:
    """Read the whole event of a snapshot that raised or resolved alerts."""
    event = read_event(record, CONSUMPTION_TYPES)
    assert event is not None  # noqa: S101  # it was decoded before
    return event
