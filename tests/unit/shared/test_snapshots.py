"""The fast decoder of snapshots is equal to the contract.

It leaves values that it does not cover to the contract.
"""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from pydantic import TypeAdapter

from shared.events.envelope import Event
from shared.events.metering import ConsumptionSnapshot, MeterConsumption
from shared.events.snapshots import meters_text, read_figures, read_snapshot, snapshot_of
from tests.support.drivers.runtime import event

METERS = TypeAdapter(tuple[MeterConsumption, ...])
AT = datetime(2026, 11, 10, 12, 30, 0, 250_000, tzinfo=UTC)


def _snapshot(**changes: Any) -> Event[ConsumptionSnapshot]:
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


def test_a_snapshot_is_decoded_as_by_the_contract() -> None:
    sent = _snapshot()
    read = read_snapshot(sent.encode())
    assert read is not None
    assert read == snapshot_of(sent.data)
    names = ("subscription", "product", "window_start", "window_end", "revision", "consumed", "as_of")
    assert [getattr(read, name) for name in names] == [getattr(sent.data, name) for name in names]
    assert (read.level, read.burned_down) == (sent.data.level, sent.data.burned_down) == (10, 10)
    assert METERS.validate_json(meters_text(read)) == sent.data.meters
    figures = read_figures(sent.encode())
    assert figures is not None
    sums = ("subscription", "product", "window_start", "revision", "consumed", "burned_down")
    assert [getattr(figures, name) for name in sums] == [getattr(read, name) for name in sums]


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
def test_a_snapshot_is_left_to_the_contract_when_a_field_may_be_invalid(name: str, value: Any) -> None:
    sent = json.loads(_snapshot().encode())
    sent["data"][name] = value
    assert read_snapshot(json.dumps(sent).encode()) is None
    if name != "as_of":  # which is no part of the sums
        assert read_figures(json.dumps(sent).encode()) is None


@pytest.mark.parametrize("aggregate", ["-1", "NaN", "Infinity", "1E+3", ""])
def test_a_snapshot_is_left_to_the_contract_when_an_amount_is_no_plain_number(aggregate: str) -> None:
    assert read_snapshot(_snapshot().encode().replace(b'"2.5"', json.dumps(aggregate).encode())) is None


@pytest.mark.parametrize("value", [b"", b"\xff", b"[]", b"{}", b'{"type": "unitpool.metering.window.restated.v1"}'])
def test_a_value_is_left_to_the_contract_when_it_is_no_snapshot(value: bytes) -> None:
    assert read_snapshot(value) is None
    assert read_figures(value) is None


def test_an_amount_is_stored_as_a_plain_number_when_it_has_an_exponent() -> None:
    (meter, _) = _snapshot().data.meters
    one = _snapshot(meters=[meter.model_copy(update={"aggregate": Decimal("1E+3")})])
    assert snapshot_of(one.data).meters[0].aggregate == "1000"
