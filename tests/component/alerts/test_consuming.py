"""Batches of snapshots on a real PostgreSQL: readings, alerts and redeliveries."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest

from services.alerts.domain.measures import window_of
from services.alerts.subscribers import AllocationSubscriber, ConsumptionSubscriber
from shared.events.allocation import GrantsChanged, LotVoided, SubscriptionCreated
from shared.events.envelope import Payload
from shared.events.ids import LotId, ProductId
from shared.events.metering import ConsumptionSnapshot
from shared.events.state import SubscriptionState
from shared.events.topics import ALLOCATION_EVENTS_TOPIC, CONSUMPTION_TOPIC
from shared.runtime.delivery.batch_runner import BatchRunner, FailureLimit, HaltError
from shared.runtime.delivery.set_aside_work import Item, SetAside
from shared.runtime.delivery.transaction import BatchHandler, Transaction, TransientError
from shared.runtime.process.clock import utc_now
from shared.runtime.records import Record
from tests.conftest import MakeDatabase
from tests.support.builders.alerts import ACME, GUARD, SCAN
from tests.support.builders.people import person_id
from tests.support.drivers.alerts import acme
from tests.support.drivers.runtime import event


async def _caught_up() -> bool:
    return True


ON_ALLOCATION = AllocationSubscriber(SetAside(ALLOCATION_EVENTS_TOPIC.name)).on_allocation
ON_CONSUMPTION = ConsumptionSubscriber(_caught_up, SetAside(CONSUMPTION_TOPIC.name)).on_consumption


@dataclass
class Replica:
    """One process's handlers of both topics, which get batches without Kafka."""

    pool: Any
    offsets: dict[str, int] = field(default_factory=dict)

    async def apply_states(self, *payloads: Payload) -> None:
        """Apply one batch of allocation events."""
        records = [self._record(ALLOCATION_EVENTS_TOPIC.name, payload) for payload in payloads]
        await self.runner(ON_ALLOCATION, ALLOCATION_EVENTS_TOPIC.name).run(records)

    def snapshots(self, *payloads: Payload) -> list[Record]:
        """Build records of snapshots."""
        return [self._record(CONSUMPTION_TOPIC.name, payload) for payload in payloads]

    async def apply_snapshots(self, records: Sequence[Record]) -> None:
        """Apply one batch of snapshots."""
        await self.runner(ON_CONSUMPTION, CONSUMPTION_TOPIC.name).run(records)

    def runner(self, handler: BatchHandler, topic: str) -> BatchRunner:
        """Build the batch runner of a topic."""
        return BatchRunner(
            self.pool,
            handler,
            service="alerts",
            reader="alerts",
            topic=topic,
            clock=utc_now,
            limit=FailureLimit(10, 60),
        )

    async def published(self) -> list[dict[str, Any]]:
        """Return the events in the outbox, in order."""
        rows = await self.pool.fetch("SELECT value FROM outbox ORDER BY id")
        return [json.loads(row["value"]) for row in rows]

    async def raised(self) -> list[tuple[str, int]]:
        """Return rule and threshold of each raised alert, in order."""
        return [
            (one["data"]["alert"]["rule"], one["data"]["alert"]["threshold"])
            for one in await self.published()
            if one["type"].endswith("alert.raised.v1")
        ]

    async def readings(self) -> list[tuple[str, int, int]]:
        """Return product, revision and consumption of each stored reading."""
        text = await self.pool.fetchval("SELECT readings FROM subscriptions WHERE id = $1", ACME)
        return sorted((product, revision, consumed) for product, _, revision, consumed, _ in json.loads(text))

    def _record(self, topic: str, payload: Payload) -> Record:
        offset = self.offsets[topic] = self.offsets.get(topic, -1) + 1
        return Record(topic, 0, offset, b"k", event(payload).encode(), (), datetime.now(UTC))


@pytest.fixture
async def replica(database: MakeDatabase) -> AsyncIterator[Replica]:
    async with asyncpg.create_pool(await database("alerts"), min_size=1, max_size=4) as pool:
        yield Replica(pool)


def _snapshot(state: SubscriptionState, consumed: int, revision: int, product: ProductId = SCAN) -> ConsumptionSnapshot:
    window = window_of(state, datetime.now(UTC))
    part = {"meter": "host", "aggregation": "sum", "reset": "window", "aggregate": consumed, "units": 1, "block": 1}
    return ConsumptionSnapshot.model_validate(
        {
            "subscription": state.id,
            "product": product,
            "window_start": window.start,
            "window_end": window.end,
            "revision": revision,
            "consumed": consumed,
            "meters": [{**part, "rate_version": 1, "consumed": consumed}],
            "as_of": datetime.now(UTC),
        }
    )


async def test_the_newest_snapshot_is_saved_when_a_batch_has_several_of_a_key(replica: Replica) -> None:
    state = acme()
    await replica.apply_states(SubscriptionCreated(subscription=state))
    records = replica.snapshots(_snapshot(state, 100, 1), _snapshot(state, 300, 3), _snapshot(state, 200, 2))
    await replica.apply_snapshots(records)
    assert await replica.readings() == [(SCAN, 3, 300)]
    assert await replica.published() == []


async def test_an_alert_is_raised_when_consumption_rises_and_falls_within_a_batch(replica: Replica) -> None:
    state = acme()
    await replica.apply_states(SubscriptionCreated(subscription=state))
    records = replica.snapshots(_snapshot(state, 850, 1), _snapshot(state, 700, 2))
    await replica.apply_snapshots(records)
    causes = [json.loads(one.value or b"")["id"] for one in records]
    assert [(one["type"], one["causationid"]) for one in await replica.published()] == [
        ("unitpool.alerts.alert.raised.v1", causes[0]),
        ("unitpool.alerts.alert.resolved.v1", causes[1]),
    ]
    assert await replica.readings() == [(SCAN, 2, 700)]


async def test_an_equal_or_older_revision_writes_nothing(replica: Replica) -> None:
    state = acme()
    await replica.apply_states(SubscriptionCreated(subscription=state))
    await replica.apply_snapshots(replica.snapshots(_snapshot(state, 700, 5)))
    row = await replica.pool.fetchval("SELECT ctid FROM subscriptions")
    await replica.apply_snapshots(replica.snapshots(_snapshot(state, 900, 5), _snapshot(state, 950, 4)))
    assert await replica.pool.fetchval("SELECT ctid FROM subscriptions") == row
    assert await replica.readings() == [(SCAN, 5, 700)]
    assert await replica.raised() == []


async def test_a_batch_has_one_effect_when_it_is_repeated_after_a_crash(replica: Replica) -> None:
    state = acme()
    await replica.apply_states(SubscriptionCreated(subscription=state))
    records = replica.snapshots(_snapshot(state, 700, 1), _snapshot(state, 850, 2), _snapshot(state, 860, 3))

    async def fail_before_commit(tx: Transaction, some: Sequence[Record]) -> None:
        await ON_CONSUMPTION(tx, some)
        raise TransientError("killed just before the commit")

    with pytest.raises(TransientError):
        await replica.runner(fail_before_commit, CONSUMPTION_TOPIC.name).run(records)
    assert await replica.readings() == []
    assert await replica.raised() == []
    await replica.apply_snapshots(records[:2])
    await replica.apply_snapshots(records)
    await replica.apply_snapshots(records)
    assert await replica.readings() == [(SCAN, 3, 860)]
    assert await replica.raised() == [("product_consumption", 80)]


async def test_the_pool_alert_is_raised_once_when_two_replicas_apply_consumption(replica: Replica) -> None:
    state = acme(lots=_lots(1500))
    await replica.apply_states(SubscriptionCreated(subscription=state))

    async def read(partition: int, product: ProductId, units: int) -> None:
        runner = replica.runner(ON_CONSUMPTION, CONSUMPTION_TOPIC.name)
        rising = Replica(replica.pool).snapshots(*[_snapshot(state, at, at, product) for at in range(1, units, 7)])
        for record in rising:
            await runner.run([record._replace(partition=partition)])

    await asyncio.gather(read(1, SCAN, 890), read(2, GUARD, 440))
    raised = [("pool_allocation", 100), ("pool_consumption", 80), *[("product_consumption", 80)] * 2]
    assert sorted(await replica.raised()) == raised


async def test_a_snapshot_counts_the_same_when_only_the_full_decoder_accepts_it(replica: Replica) -> None:
    state = acme()
    await replica.apply_states(SubscriptionCreated(subscription=state))
    odd = _snapshot(state, 850, 2)
    value = (
        event(odd).encode().replace(b'"revision":2', b'"revision":"2"')
    )  # accepted by pydantic, not by the fast decoder
    (plain,) = replica.snapshots(_snapshot(state, 100, 1))
    await replica.apply_snapshots([plain, plain._replace(offset=1, value=value)])
    assert await replica.readings() == [(SCAN, 2, 850)]
    assert await replica.raised() == [("product_consumption", 80)]


async def test_a_record_is_dead_lettered_when_it_is_no_snapshot_and_skipped_when_of_another_type(
    replica: Replica,
) -> None:
    state = acme()
    await replica.apply_states(SubscriptionCreated(subscription=state))
    bad, good, other = replica.snapshots(_snapshot(state, 10, 2), _snapshot(state, 850, 1), _snapshot(state, 10, 3))
    broken = bad._replace(value=(bad.value or b"").replace(b'"consumed":10', b'"consumed":-10'))
    newer = other._replace(value=(other.value or b"").replace(b"measured.v1", b"measured.v2"))
    await replica.apply_snapshots([broken, good, newer])
    assert await replica.readings() == [(SCAN, 1, 850)]
    rows = await replica.pool.fetch("SELECT topic FROM outbox ORDER BY id")
    assert [row["topic"] for row in rows] == ["metering.consumption.alerts.dlq", "alerts.events"]


async def test_a_snapshot_is_dead_lettered_when_it_raises_an_alert_and_breaks_the_contract(replica: Replica) -> None:
    state = acme()
    await replica.apply_states(SubscriptionCreated(subscription=state))
    before, odd, after = replica.snapshots(_snapshot(state, 10, 1), _snapshot(state, 850, 2), _snapshot(state, 20, 3))
    odd = odd._replace(value=(odd.value or b"").replace(b'"specversion":"1.0"', b'"specversion":"9"'))
    await replica.apply_snapshots([before, odd, after])
    assert await replica.readings() == [(SCAN, 3, 20)]
    rows = await replica.pool.fetch("SELECT topic FROM outbox ORDER BY id")
    assert [row["topic"] for row in rows] == ["metering.consumption.alerts.dlq"]


async def test_stored_consumption_is_assessed_when_its_subscription_arrives(replica: Replica) -> None:
    state = acme()
    await replica.apply_snapshots(replica.snapshots(_snapshot(state, 850, 1)))
    assert await replica.raised() == []
    await replica.apply_states(SubscriptionCreated(subscription=state))
    assert await replica.raised() == [("product_consumption", 80)]


async def test_a_changed_allocation_is_compared_with_the_newest_consumption(replica: Replica) -> None:
    state = acme()
    await replica.apply_states(SubscriptionCreated(subscription=state))
    await replica.apply_snapshots(replica.snapshots(_snapshot(state, 700, 1), _snapshot(state, 790, 2)))
    await replica.apply_states(GrantsChanged(subscription=acme(2, scan=850), person=person_id("alan@acme.example")))
    assert await replica.raised() == [("product_consumption", 90)]


async def test_a_voided_lot_that_leaves_the_pool_over_allocated_is_critical(replica: Replica) -> None:
    state = acme()
    await replica.apply_states(SubscriptionCreated(subscription=state))
    await replica.apply_states(LotVoided(subscription=acme(2, lots=_lots(1400)), lot=LotId("lot-1"), reason="wrong"))
    (alert,) = [one["data"]["alert"] for one in await replica.published()]
    assert (alert["rule"], alert["severity"]) == ("pool_over_allocated", "critical")


def _lots(units: int) -> list[dict[str, Any]]:
    return [{**acme().lots[0].model_dump(), "units": units}]


async def test_a_consumer_halts_when_the_work_of_too_many_subscriptions_fails(replica: Replica) -> None:
    """As after a faulty deploy: nothing is lost, and nothing stays set aside."""

    async def fails(_: Sequence[Any]) -> None:
        raise RuntimeError("broken")

    aside = SetAside(CONSUMPTION_TOPIC.name, keys_max=3)

    async def handle(tx: Transaction, records: Sequence[Record]) -> None:
        await aside.apply(tx, [Item(None, f"s-{one.offset}", one) for one in records], fails)

    records = replica.snapshots(*(_snapshot(acme(), 10, revision) for revision in range(1, 9)))
    runner = replica.runner(handle, CONSUMPTION_TOPIC.name)
    with pytest.raises(HaltError):
        await runner.run(records)
    assert await replica.pool.fetchval("SELECT count(*) FROM set_aside_work") == 0
    await runner.run(records[:2])
    await runner.run(records[2:3])
    assert await replica.pool.fetchval("SELECT count(*) FROM set_aside_work") == 3
    with pytest.raises(HaltError):
        await runner.run(records[3:4])
    assert await replica.pool.fetchval("SELECT max(next_offset) FROM consumer_offsets") == 3
    assert await replica.published() == []
