"""Decoding of records into events.

A record that is invalid for its type is a permanent error.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from shared.events.envelope import Event, Payload, UndecodableError, decode
from shared.runtime.delivery.transaction import PermanentError
from shared.runtime.records import Record


def read_event(record: Record, payloads: Mapping[str, type[Payload]]) -> Event[Any] | None:
    """Decode a record into an event of one of ``payloads`` (by type).

    ``None`` for a tombstone, and for a type that is not among them.

    Raises:
        PermanentError: ``malformed``.
    """
    if record.value is None:
        return None
    try:
        return decode(record.value, payloads)
    except UndecodableError as error:
        raise PermanentError("malformed", str(error), record=record) from error


def read_events(records: Iterable[Record], payloads: Mapping[str, type[Payload]]) -> Iterator[Event[Any]]:
    """Decode the records of a batch, without tombstones and other types.

    Raises:
        PermanentError: ``malformed``, with the record.
    """
    for record in records:
        event = read_event(record, payloads)
        if event is not None:
            yield event
