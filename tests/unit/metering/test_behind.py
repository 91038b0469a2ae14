"""Snapshots rest while a backlog of usage is applied, however long a batch of it takes."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from services.metering import subscribers
from services.metering.handlers.apply_usage import Applied
from services.metering.subscribers import UsageSubscriber
from shared.runtime.delivery import Record, Transaction

NOW = datetime(2026, 11, 25, tzinfo=UTC)
FULL = 10


class Applier:
    """Applies nothing; notes whether the subscriber was behind meanwhile."""

    def __init__(self) -> None:
        self.was_behind: list[bool] = []
        self.subscriber: UsageSubscriber | None = None
        self.fails = False

    async def apply(self, _connection: object, records: Sequence[Record], _now: datetime) -> Applied:
        assert self.subscriber
        self.was_behind.append(self.subscriber.is_behind())
        if self.fails:
            raise OSError("away")
        return Applied(["applied"] * len(records), {}, 1)

    def committed(self) -> None:
        """Nothing to keep."""


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize(("count", "is_behind"), [(FULL, True), (FULL // 2, True), (FULL // 2 - 1, False)])
async def test_a_half_full_batch_means_behind_until_a_moment_after(
    monkeypatch: pytest.MonkeyPatch, count: int, is_behind: bool, fails: bool
) -> None:
    clock = [1000.0]
    monkeypatch.setattr("services.metering.subscribers.time.monotonic", lambda: clock[0])
    applier = Applier()
    subscriber = applier.subscriber = UsageSubscriber(cast(Any, applier), FULL)
    assert not subscriber.is_behind()
    applier.fails = fails
    records = [Record("usage.events", 0, n, None, b"", (), NOW) for n in range(count)]
    try:
        await subscriber.on_usage(Transaction(cast(Any, None), NOW, service="metering"), records)
    except OSError:
        assert fails
    assert applier.was_behind == [is_behind]
    assert subscriber.is_behind() is is_behind
    clock[0] += subscribers.BEHIND_SECONDS
    assert not subscriber.is_behind()
