"""Records that ``check`` accepts as snapshots: all that their readers accept."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from services.metering.verification.kafka_reader import Published, read_published
from shared.events.metering import ConsumptionSnapshot
from shared.events.snapshots import read_snapshot
from tests.support.drivers.runtime import event

START = datetime(2026, 11, 1, tzinfo=UTC)


def published(aggregate: str) -> bytes:
    """Encode a snapshot of 1,000 units with this text as its aggregate."""
    meter = {"meter": "node", "aggregation": "peak", "reset": "window", "units": 1, "block": 1, "rate_version": 1}
    snapshot = ConsumptionSnapshot.model_validate(
        {
            "subscription": "acme-flex",
            "product": "scan",
            "window_start": START,
            "window_end": START.replace(day=16),
            "revision": 7,
            "consumed": 1000,
            "meters": [meter | {"aggregate": Decimal("1000"), "consumed": 1000}],
            "as_of": START,
        }
    )
    return event(snapshot).encode().replace(b'"1000"', f'"{aggregate}"'.encode())


@pytest.mark.parametrize(("aggregate", "plain"), [("1000", True), ("1E+3", False)])
def test_a_snapshot_is_found_when_only_the_contract_can_read_it(aggregate: str, plain: bool) -> None:
    value = published(aggregate)
    assert (read_snapshot(value) is not None) is plain
    assert read_published(value) == Published("acme-flex", "scan", START, 7)


@pytest.mark.parametrize("value", [b"", b"{}", b"\xff", b"[1]", published("-1")])
def test_a_record_is_skipped_when_it_is_no_snapshot(value: bytes) -> None:
    assert read_published(value) is None
