"""Snapshots rest only while usage has a backlog."""

import pytest

from services.metering.background import has_backlog
from shared.runtime.delivery.lag import ConsumerState


@pytest.mark.parametrize(
    ("topic", "lag", "expected"),
    [
        ("usage.events", 10_000, False),
        ("usage.events", 10_001, True),
        ("usage.events.scan", 10_001, True),
        ("allocation.events", 10_001, False),
        ("metering.commands", 10_001, False),
    ],
)
def test_there_is_a_backlog_when_usage_lags_by_several_batches(topic: str, lag: int, expected: bool) -> None:
    idle = ConsumerState("usage.events", None, halted=False, lag_records=0, lag_seconds=0)
    asked = ConsumerState(topic, None, halted=False, lag_records=lag, lag_seconds=1)
    assert has_backlog([idle, asked], 10_000) is expected
