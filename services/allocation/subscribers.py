"""Consumers of Kafka topics.

A batch of consumption snapshots is written by one statement.
"""

from collections.abc import Sequence

from services.allocation.handlers.consumption import apply_consumption
from shared.events.envelope import by_type
from shared.events.metering import ConsumptionSnapshot
from shared.runtime.delivery.decode import read_events
from shared.runtime.delivery.transaction import Transaction
from shared.runtime.records import Record

_TYPES = by_type([ConsumptionSnapshot])


async def on_consumption(tx: Transaction, records: Sequence[Record]) -> None:
    """Save the snapshots that are newer than those stored.

    Tombstones and other types are skipped.

    Raises:
        PermanentError: a record is not what its type promises.
    """
    snapshots = [event.data for event in read_events(records, _TYPES)]
    await apply_consumption(tx, snapshots)
