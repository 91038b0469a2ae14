"""Kafka's edge where records come in batches."""

from collections.abc import Sequence

from services.reporting.handlers import keep_consumption
from shared.events.envelope import UndecodableError, by_type, decode
from shared.events.metering import CONSUMPTION, ConsumptionSnapshot
from shared.runtime.delivery import PermanentError, Record, Transaction

_PAYLOADS = by_type(CONSUMPTION)


async def on_consumption(tx: Transaction, records: Sequence[Record]) -> None:
    """Snapshots, a batch in one statement. Other types and tombstones are passed over."""
    await keep_consumption(tx, [one for record in records if (one := _snapshot(record)) is not None])


def _snapshot(record: Record) -> ConsumptionSnapshot | None:
    if record.value is None:
        return None
    try:
        event = decode(record.value, _PAYLOADS)
    except UndecodableError as error:
        raise PermanentError("malformed", str(error), record=record) from error
    return None if event is None else event.data
