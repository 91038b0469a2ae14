"""The fast reader of snapshots sees what the contract sees, and leaves to it what is not plain."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from pydantic import TypeAdapter

from shared.events.envelope import Event
from shared.events.metering import ConsumptionSnapshot, MeterConsumption
from shared.events.snapshots import meters_text, read_snapshot, snapshot_of
from tests.support.drivers.runtime import event

METERS = TypeAdapter(tuple[MeterConsumption, ...])
AT = datetime(2026, 11, 10, 12, 30, 0, 250_000, tzinfo=UTC)


def _told(**changes: Any) -> Event[ConsumptionSnapshot]:
    level = {"meter": "node", "aggregation": "peak", "reset": "window", "aggregate": "2.5", "units": 4, "block": 1}
    term = {"meter": "call", "aggregation": "sum", "reset": "term", "aggregate": "100000", "units": 1, "block": 10_000}
    data = {
        "subscription": "acme-flex",
        "product": "container-shield",
        "window_start": datetime(2026, 11, 1, tzinfo=UTC),
        "window_end": datetime(2026, 11, 16, tzinfo=UTC),
        "revision": 7,
        "consumed": 20,
        "meters": [
            {**level, "rate_version": 1, "consumed": 10, "peak_at": AT},
            {**term, "rate_version": 2, "consumed": 10},
        ],
        "as_of": AT,
    }
    return event(ConsumptionSnapshot.model_validate({**data, **changes}))


def test_a_plain_snapshot_is_read_as_the_contract_reads_it() -> None:
    told = _told()
    read = read_snapshot(told.encode())
    assert read is not None
    assert read == snapshot_of(told.data)
    names = ("subscription", "product", "window_start", "window_end", "revision", "consumed", "as_of")
    assert [getattr(read, name) for name in names] == [getattr(told.data, name) for name in names]
    assert (read.level, read.burned_down) == (told.data.level, told.data.burned_down) == (10, 10)
    assert METERS.validate_json(meters_text(read)) == told.data.meters


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("revision", 0),
        ("revision", "7"),
        ("consumed", -1),
        ("consumed", 2**60),
        ("subscription", "nul\0"),
        ("product", "Big"),
        ("window_start", "2026-11-01T00:00:00"),
        ("as_of", "yesterday"),
        ("meters", []),
    ],
)
def test_what_is_not_plainly_right_is_left_to_the_contract(name: str, value: Any) -> None:
    told = json.loads(_told().encode())
    told["data"][name] = value
    assert read_snapshot(json.dumps(told).encode()) is None


@pytest.mark.parametrize("aggregate", ["-1", "NaN", "Infinity", "1E+3", ""])
def test_an_amount_that_is_no_plain_number_is_left_to_the_contract(aggregate: str) -> None:
    assert read_snapshot(_told().encode().replace(b'"2.5"', json.dumps(aggregate).encode())) is None


@pytest.mark.parametrize("value", [b"", b"\xff", b"[]", b"{}", b'{"type": "unitpool.metering.window.restated.v1"}'])
def test_what_is_no_snapshot_is_left_to_the_contract(value: bytes) -> None:
    assert read_snapshot(value) is None


def test_an_amount_in_powers_of_ten_is_kept_as_a_plain_number() -> None:
    (meter, _) = _told().data.meters
    one = _told(meters=[meter.model_copy(update={"aggregate": Decimal("1E+3")})])
    assert snapshot_of(one.data).meters[0].aggregate == "1000"
