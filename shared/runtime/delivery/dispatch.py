"""Dispatch: passes each event of a batch to the handler of its type."""

from collections.abc import Mapping, Sequence

from shared.events.envelope import Payload, by_type
from shared.runtime.delivery.decode import read_event
from shared.runtime.delivery.transaction import EventHandler, Transaction
from shared.runtime.process import logging
from shared.runtime.records import Record


class Dispatch:
    """A batch handler made of event handlers by payload type.

    Other types and tombstones are ignored.
    """

    def __init__(self, handlers: Mapping[type[Payload], EventHandler]) -> None:
        self._handlers = dict(handlers)
        self._payloads = by_type(handlers)

    async def __call__(self, tx: Transaction, records: Sequence[Record]) -> None:
        """Handle the records in order."""
        for record in records:
            tx.record = record
            event = read_event(record, self._payloads)
            if event is None:
                continue
            logging.bind(correlation_id=event.correlationid)
            try:
                tx.cause = event
                await self._handlers[type(event.data)](tx, event)
            finally:
                tx.cause = None
                logging.unbind("correlation_id")
