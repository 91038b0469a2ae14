"""Caches of metering: one catalogue per batch, and changes only after its commit."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest

from services.metering.domain import judgement
from services.metering.domain.judgement import instant, judge
from services.metering.handlers import apply_usage
from services.metering.handlers.apply_usage import JUDGED_AT_ONCE, BatchOutcome, UsageApplier
from services.metering.store import partitions, projection
from services.metering.store.projection import Projection
from services.metering.store.usage_batch import UsageBatch
from shared.runtime.postgres.pool import Connection
from tests.component.metering.test_moves import StaleOnce
from tests.support.builders.metering import NOW, event, product, records, subscription
from tests.support.drivers.transactions import begun, transaction

LONG_AGO = NOW - timedelta(days=20)
NEW = [{**event("new", at=LONG_AGO, resource="a"), "source": "/platforms/scan/new"}]
MALFORMED = [{"specversion": "1.0"}]


def cached(applier: UsageApplier) -> tuple[set[Any], dict[str, int]]:
    return set(applier.known_partitions), dict(applier.projection.catalogue.sources)


async def apply(connection: Connection, applier: UsageApplier, items: Sequence[Any], first: int = 0) -> BatchOutcome:
    async with transaction(connection) as tx:
        return await applier.apply(tx, records(items, first=first))


async def test_caches_are_unchanged_when_a_batch_is_rolled_back(connection: Connection) -> None:
    applier = UsageApplier()
    undone = connection.transaction()
    await undone.start()
    applied = await applier.apply(begun(connection), records(NEW))
    assert applied.outcomes == ["applied"]
    await undone.rollback()
    assert cached(applier) == (set(), {})
    await apply(connection, applier, MALFORMED, first=1)  # commits, and has created nothing itself
    assert cached(applier) == (set(), {})
    assert (await apply(connection, applier, NEW, first=2)).outcomes == ["applied"]


async def test_caches_are_unchanged_when_a_savepoint_is_rolled_back(connection: Connection) -> None:
    applier = UsageApplier()
    async with transaction(connection) as tx:
        async with tx.savepoint() as undo:
            await applier.apply(tx, records(NEW))
            undo()
        await applier.apply(tx, records(MALFORMED, first=1))
    assert cached(applier) == (set(), {})


async def test_caches_change_when_a_batch_has_committed(connection: Connection) -> None:
    applier = UsageApplier()
    async with transaction(connection) as tx:
        await applier.apply(tx, records(NEW))
        assert cached(applier) == (set(), {})
        number = await connection.fetchval("SELECT number FROM source WHERE id = '/platforms/scan/new'")
    known, sources = cached(applier)
    assert ("usage", LONG_AGO.date()) in known
    assert sources == {"/platforms/scan/new": number}
    assert (await apply(connection, applier, NEW, first=1)).outcomes == ["duplicate"]


async def test_sources_are_in_the_catalogue_when_they_are_added_during_a_load(connection: Connection) -> None:
    class AddsSourcesWhileLoading(Projection):
        async def _load(self, connection: Connection) -> None:
            fetch = connection.fetch

            async def add_and_fetch(*arguments: Any) -> Any:
                self.add_sources({"/platforms/scan/new": 9})  # another batch commits while this one waits
                return await fetch(*arguments)

            await super()._load(_ReplacedFetch(connection, add_and_fetch))  # type: ignore[arg-type]

    loaded = await AddsSourcesWhileLoading().refresh(connection)
    assert loaded.sources == {"/platforms/scan/new": 9}
    assert set(loaded.subscriptions) == {"sub-1", "sub-2", "sub-3"}


class _ReplacedFetch:
    """A connection whose ``fetch`` is replaced."""

    def __init__(self, connection: Connection, fetch: Any) -> None:
        self.fetch, self.fetchval = fetch, connection.fetchval


async def test_a_catalogue_is_unchanged_when_a_newer_one_is_loaded(connection: Connection) -> None:
    shared = Projection()
    held = await shared.refresh(connection)
    state, meters = held.subscriptions["sub-1"].state, dict(held.products["scan"].meters)
    async with connection.transaction():
        changed = [subscription("sub-1", ("scan",), version=9), subscription("sub-9", ("scan",))]
        await projection.save(connection, changed, [product("scan", version=9)])
    newer = await shared.refresh(connection)
    assert shared.catalogue is newer
    assert newer.version > held.version
    assert set(newer.subscriptions) == {"sub-1", "sub-2", "sub-3", "sub-9"}
    assert newer.products["scan"].meters == {}
    assert set(held.subscriptions) == {"sub-1", "sub-2", "sub-3"}
    assert held.subscriptions["sub-1"].state is state
    assert held.products["scan"].meters == meters
    assert newer.subscriptions["sub-2"] is held.subscriptions["sub-2"]
    assert newer.products["web"] is held.products["web"]


async def test_a_batch_is_judged_by_the_catalogue_that_it_began_with(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = StaleOnce()
    first = await shared.refresh(connection)
    async with connection.transaction():
        await projection.save(connection, [_ended(NOW - timedelta(days=1))], [])
    newer = await Projection().refresh(connection)
    turns = 0

    def judge_and_load(*arguments: Any) -> None:
        nonlocal turns
        judgement.judge_records(*arguments)
        shared.catalogue, turns = newer, turns + 1  # what a refresh by other work does, in one step

    monkeypatch.setattr(apply_usage, "judge_records", judge_and_load)
    shared.is_stale = True
    items = [event(f"e-{n}", resource="r") for n in range(2 * JUDGED_AT_ONCE)]
    applied = await apply(connection, UsageApplier(shared), items)
    assert turns == 2
    assert set(applied.outcomes) == {"applied"}
    assert applied.catalogue_version == first.version < newer.version
    assert await connection.fetchval("SELECT count(*) FROM move_due") == 1, "what ended meanwhile is moved afterwards"


def _ended(at: datetime) -> Any:
    """Build a subscription that was cancelled at this time."""
    return subscription("sub-1", ("scan",), version=9).model_copy(update={"cancelled_at": at})


async def test_a_step_of_a_batch_is_refused_when_it_is_out_of_order_or_repeated(connection: Connection) -> None:
    known = (await Projection().refresh(connection)).with_sources({"/platforms/scan": 1})
    judged = judge(records([event("u", resource="a")]), known)
    window = instant(judged.placed[0].usage.window_us)
    wanted = [(partitions.USAGE, NOW.date()), (partitions.SIGHTINGS, window.date())]
    async with connection.transaction():
        await partitions.make_partitions(connection, partitions.missing(wanted, set()))
        batch = await UsageBatch.insert(connection, judged.placed)
        with pytest.raises(RuntimeError, match="meet_corrections comes next"):
            await batch.add_up()
        assert await batch.meet_corrections() == judged.first_version
        with pytest.raises(RuntimeError, match="add_up comes next"):
            await batch.meet_corrections()
        await batch.add_up()
        with pytest.raises(RuntimeError, match="nothing comes next"):
            await batch.add_up()
        assert await connection.fetchval("SELECT aggregate FROM meter_window") == 1
