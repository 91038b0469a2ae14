"""Kafka's edge: a batch of consumption snapshots is one statement, not one for each."""

from collections.abc import Sequence

from shared.runtime.records import Record

from services.allocation.handlers.consumption import apply_consumption
from shared.events.envelope import UndecodableError, by_type, decode
from shared.events.metering import ConsumptionSnapshot
from shared.runtime.delivery.transaction import PermanentError, Transaction

_TYPES = by_type([ConsumptionSnapshot])


async def on_consumption(tx: Transaction, records: Sequence[Record]) -> None:
    """Keep what is newer. Tombstones and other types are passed over.

    Raises:
        PermanentError: a record is not what its type promises.
    """
    snapshots = []
    for record in records:
        if record.value is None:
            continue
        try:
            event = decode(record.value, _TYPES)
        except UndecodableError as error:
            raise PermanentError("malformed", str(error), record=record) from error
        if event is not None:
            snapshots.append(event.data)
    await apply_consumption(tx, snapshots)
