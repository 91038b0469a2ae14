"""Kafka's edge where records come in batches."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from services.reporting.domain.snapshots import Snapshot, read_snapshot, snapshot_of
from services.reporting.handlers import keep_consumption, record_decisions
from shared.events.envelope import Event, Payload, UndecodableError, by_type, decode
from shared.events.metering import CONSUMPTION
from shared.events.outcomes import DecisionRecorded
from shared.runtime.delivery.transaction import PermanentError, Transaction
from shared.runtime.records import Record

_CONSUMPTION = by_type(CONSUMPTION)
_AUDIT = by_type([DecisionRecorded])


async def on_consumption(tx: Transaction, records: Sequence[Record]) -> None:
    """Snapshots, a batch in one statement."""
    await keep_consumption(tx, list(_snapshots(records)))


async def on_audit(tx: Transaction, records: Sequence[Record]) -> None:
    """Decisions, a batch in one statement, which locks the chains of its accounts in order."""
    await record_decisions(tx, list(_events(records, _AUDIT)))


def _snapshots(records: Sequence[Record]) -> Iterator[Snapshot]:
    for record in records:
        plain = None if record.value is None else read_snapshot(record.value)
        if plain is not None:
            yield plain
        else:
            yield from (snapshot_of(event.data) for event in _events([record], _CONSUMPTION))


def _events(records: Sequence[Record], payloads: Mapping[str, type[Payload]]) -> Iterator[Event[Any]]:
    """Other types and tombstones are passed over."""
    for record in records:
        if record.value is None:
            continue
        try:
            event = decode(record.value, payloads)
        except UndecodableError as error:
            raise PermanentError("malformed", str(error), record=record) from error
        if event is not None:
            yield event
