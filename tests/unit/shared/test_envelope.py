"""The envelope: events are read as they were written, and errors name the field."""

import json
from datetime import UTC, datetime

import pytest

from shared.events.allocation import ALLOCATION_EVENTS, AccountCreated
from shared.events.envelope import Event, UndecodableError, by_type, decode
from shared.events.state import AccountState, Meter, Rate

NOW = datetime(2026, 11, 24, 10, 15, tzinfo=UTC)
PAYLOADS = by_type(ALLOCATION_EVENTS)
CREATED = AccountCreated(account=AccountState(id="acme", name="Acme", flex_enabled=True, version=1))


def _encoded(**changes: object) -> bytes:
    event = Event.of(CREATED, id="e-1", source="/allocation", time=NOW, actor="vera@unitpool.example")
    return json.dumps(json.loads(event.encode()) | changes).encode()


def test_an_event_is_read_as_it_was_written() -> None:
    event = decode(_encoded(), PAYLOADS)
    assert event is not None
    assert event.data == CREATED
    assert (event.time, event.actor, event.actorvendor) == (NOW, "vera@unitpool.example", None)


def test_a_time_with_an_offset_is_converted_to_utc() -> None:
    event = decode(_encoded(time="2026-11-24T12:15:00+02:00"), PAYLOADS)
    assert event is not None
    assert event.encode() == decode(_encoded(), PAYLOADS).encode()  # type: ignore[union-attr]


def test_an_event_is_read_when_a_newer_producer_has_added_fields() -> None:
    assert decode(_encoded(newattribute="x", data=CREATED.model_dump() | {"more": 1}), PAYLOADS) is not None


def test_an_event_of_another_type_is_none() -> None:
    assert decode(_encoded(type="unitpool.other.thing.done.v1"), PAYLOADS) is None


@pytest.mark.parametrize(
    ("raw", "where"),
    [
        (b"", "body"),
        (b"\xff", "body"),
        (b"[]", "body"),
        (b"{}", "type"),
        (_encoded(time="2026-11-24T10:15:00"), "time"),
        (_encoded(specversion="0.3"), "specversion"),
        (_encoded(data={"account": {"id": "ACME!"}}), "data.account.id"),
    ],
)
def test_the_error_names_the_field_when_an_event_is_malformed(raw: bytes, where: str) -> None:
    with pytest.raises(UndecodableError, match=where):
        decode(raw, PAYLOADS)


def test_the_rate_in_force_is_the_last_that_has_begun() -> None:
    rates = tuple(Rate(version=n, units=n, block=1, effective_from=datetime(2026, n, 1, tzinfo=UTC)) for n in (1, 2, 3))
    meter = Meter(meter="host", name="Hosts", aggregation="unique", reset="window", rates=rates)
    assert [meter.rate_at(datetime(2026, m, d, tzinfo=UTC)).version for m, d in ((1, 1), (1, 31), (2, 1), (9, 9))] == [
        1,
        1,
        2,
        3,
    ]
    assert meter.rate_at(datetime(2025, 1, 1, tzinfo=UTC)).version == 1
