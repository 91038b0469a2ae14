"""Consumption waits until the present allocations are applied, but not forever."""

from collections.abc import AsyncIterator

import pytest

from services.alerts import allocation_catch_up
from services.alerts.allocation_catch_up import AllocationCatchUp
from services.alerts.main import definition
from services.alerts.settings import AlertsSettings
from shared.events.topics import ALLOCATION_EVENTS_TOPIC
from shared.runtime.postgres.pool import open_pool
from shared.runtime.service.definition import Runtime
from tests.conftest import MakeDatabase
from tests.runtime.conftest import bench
from tests.support.drivers.processes import COMMAND_KEYS
from tests.support.drivers.runtime import Bench, until

__all__ = ["bench"]

_APPLIED = """
INSERT INTO consumer_offsets (reader, topic, partition, next_offset) VALUES ('alerts', $1, $2, $3)
ON CONFLICT (reader, topic, partition) DO UPDATE SET next_offset = excluded.next_offset
"""


@pytest.fixture
async def runtime(bench: Bench, database: MakeDatabase) -> AsyncIterator[Runtime[AlertsSettings]]:
    """Create a runtime that runs nothing, so that only the test applies records."""
    for partition in (0, 1):
        await bench.send(ALLOCATION_EVENTS_TOPIC, b"{}", partition=partition)
    settings = AlertsSettings(
        database_url=await database("alerts"),
        kafka_bootstrap_servers=bench.kafka,
        kafka_topic_prefix=bench.prefix,
        command_keys=COMMAND_KEYS,
    )
    created = Runtime(definition(), settings)
    await open_pool(created.pool, settings)
    try:
        yield created
    finally:
        await created.pool.close()


async def test_the_catch_up_is_over_when_all_partitions_are_applied(runtime: Runtime[AlertsSettings]) -> None:
    catch_up = AllocationCatchUp(runtime)
    await catch_up.load_ends()
    assert not await catch_up.is_over()
    await runtime.pool.execute(_APPLIED, ALLOCATION_EVENTS_TOPIC.name, 0, 1)
    assert not await catch_up.is_over()
    assert (await catch_up.check()).detail == "partitions [1] of allocation.events are being read"
    await runtime.pool.execute(_APPLIED, ALLOCATION_EVENTS_TOPIC.name, 1, 1)
    assert await catch_up.is_over()
    assert (await catch_up.check()).ok


async def test_the_catch_up_is_given_up_and_reported_when_a_partition_makes_no_progress(
    runtime: Runtime[AlertsSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(allocation_catch_up, "STUCK_SECONDS", 0.5)
    catch_up = AllocationCatchUp(runtime)
    await catch_up.load_ends()
    await runtime.pool.execute(_APPLIED, ALLOCATION_EVENTS_TOPIC.name, 0, 1)
    assert not await catch_up.is_over(), "it has made progress"
    await until(catch_up.is_over)
    check = await catch_up.check()
    assert (check.ok, check.shared) == (False, True)
    assert "partitions [1]" in check.detail
    await runtime.pool.execute(_APPLIED, ALLOCATION_EVENTS_TOPIC.name, 1, 1)
    assert (await catch_up.check()).ok


async def test_a_partition_is_stuck_when_others_are_applied_beyond_their_end(
    runtime: Runtime[AlertsSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(allocation_catch_up, "STUCK_SECONDS", 0.5)
    catch_up, offset = AllocationCatchUp(runtime), 1
    await catch_up.load_ends()

    async def is_over_while_new_records_are_applied() -> bool:
        nonlocal offset
        offset += 1
        await runtime.pool.execute(_APPLIED, ALLOCATION_EVENTS_TOPIC.name, 0, offset)
        return await catch_up.is_over()

    await until(is_over_while_new_records_are_applied)
    assert "partitions [1]" in (await catch_up.check()).detail


async def test_time_does_not_count_when_no_poll_is_made(
    runtime: Runtime[AlertsSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(allocation_catch_up, "POLL_GAP_MAX_SECONDS", 0.0)
    monkeypatch.setattr(allocation_catch_up, "STUCK_SECONDS", 0.001)
    catch_up = AllocationCatchUp(runtime)
    await catch_up.load_ends()
    for _ in range(20):
        assert not await catch_up.is_over()
