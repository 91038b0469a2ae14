"""Metering's store on a real PostgreSQL: statements, partitions, concurrency."""

import asyncio
import importlib
import pkgutil
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from functools import partial
from itertools import groupby
from typing import Any
from unittest.mock import Mock

import asyncpg
import pytest

from services.metering import store
from services.metering.backfill import Backfill
from services.metering.domain import judgement
from services.metering.domain.catalogue import Catalogue
from services.metering.handlers import apply_usage
from services.metering.handlers.apply_usage import JUDGED_AT_ONCE, UsageApplier
from services.metering.handlers.retry_quarantine import retry_quarantined
from services.metering.handlers.upkeep import delete_old_windows, maintain_partitions
from services.metering.store import partitions, projection, recomputation, usage_batch
from services.metering.store.projection import Projection
from shared.runtime.postgres.pool import Connection
from tests.component.metering.test_apply_usage import apply, books, stored
from tests.support.builders.metering import NOW, PRODUCTS, event, product, records, subscription
from tests.support.drivers.transactions import begun, transaction
from tests.support.references.usage import aggregates
from tests.support.servers.databases import as_owner, connect

VERBS = ("SELECT", "INSERT", "UPDATE", "DELETE", "WITH")


def statements() -> list[tuple[str, str]]:
    modules = [importlib.import_module(f"{store.__name__}.{one.name}") for one in pkgutil.iter_modules(store.__path__)]
    return [
        (f"{module.__name__}.{name}", text)
        for module in modules
        for name, text in vars(module).items()
        if isinstance(text, str) and text.lstrip().startswith(VERBS)
    ]


async def test_every_statement_fits_the_schema(connection: Connection) -> None:
    found = statements()
    assert len(found) > 80
    async with connection.transaction():
        await connection.execute(usage_batch._EMPTY_BATCH)
        await recomputation.prepare(connection, Catalogue())
        await recomputation.add_up(connection)
        for name, text in found:
            try:
                await connection.prepare(text)
            except Exception as error:
                raise AssertionError(f"{name}: {error}") from error


async def test_upkeep_makes_partitions_ahead_and_drops_old_ones(connection: Connection) -> None:
    old = NOW - timedelta(days=120)
    await maintain_partitions(connection, Catalogue(), old)
    known = await maintain_partitions(connection, Catalogue(), NOW)
    assert ("usage", NOW.date() + timedelta(days=3)) in known
    assert ("usage", old.date()) not in known
    there = {(one.kind.table, one.first) for one in await partitions.load_partitions(connection)}
    assert there == known
    assert await maintain_partitions(connection, Catalogue(), NOW) == known


async def test_upkeep_continues_when_another_process_dropped_the_partition(
    connection: Connection, metering_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold = partitions.hold_drop_lock
    old = NOW.date() - timedelta(days=100)
    await partitions.make_partitions(connection, [(partitions.USAGE, old)])

    @asynccontextmanager
    async def after_another_process(mine: Connection) -> AsyncIterator[bool]:
        monkeypatch.setattr(partitions, "hold_drop_lock", hold)
        async with connect(metering_dsn) as other:
            await maintain_partitions(other, Catalogue(), NOW)
        async with hold(mine) as turn:
            yield turn

    monkeypatch.setattr(partitions, "hold_drop_lock", after_another_process)
    assert ("usage", old) not in await maintain_partitions(connection, Catalogue(), NOW)
    assert await connection.fetchval("SELECT to_regclass($1)", f"usage_{old:%Y%m%d}") is None


@pytest.mark.parametrize("is_pending", [False, True], ids=["detached", "half detached"])
async def test_a_drop_is_finished_when_it_was_interrupted(
    connection: Connection, metering_dsn: str, is_pending: bool
) -> None:
    old = NOW.date() - timedelta(days=100)
    await partitions.make_partitions(connection, [(partitions.USAGE, old)])
    async with connect(as_owner(metering_dsn)) as owner, connect(metering_dsn) as reader:
        reading = reader.transaction()
        await reading.start()
        if is_pending:  # it waits for the reader, and is cancelled in the middle
            await reader.fetch("SELECT FROM usage")
            await owner.execute("SET statement_timeout = '200ms'")
            with pytest.raises(asyncpg.QueryCanceledError):
                await owner.execute(f"ALTER TABLE usage DETACH PARTITION usage_{old:%Y%m%d} CONCURRENTLY")
        else:
            await owner.execute(f"ALTER TABLE usage DETACH PARTITION usage_{old:%Y%m%d} CONCURRENTLY")
        await reading.rollback()
    await maintain_partitions(connection, Catalogue(), NOW)
    assert await connection.fetchval("SELECT to_regclass($1)", f"usage_{old:%Y%m%d}") is None


async def test_writers_do_not_wait_when_a_partition_is_dropped(connection: Connection, metering_dsn: str) -> None:
    old = NOW.date() - timedelta(days=100)
    await partitions.make_partitions(connection, [(partitions.USAGE, old)])
    async with connect(metering_dsn) as writer, writer.transaction():
        await writer.execute("DELETE FROM usage WHERE at < '2000-01-01Z'")
        assert ("usage", old) not in await maintain_partitions(connection, Catalogue(), NOW)
        assert await connection.fetchval("SELECT to_regclass($1)", f"usage_{old:%Y%m%d}") is not None
    await maintain_partitions(connection, Catalogue(), NOW)
    assert await connection.fetchval("SELECT to_regclass($1)", f"usage_{old:%Y%m%d}") is None


@pytest.mark.parametrize("table", ["book", "usage_20200101; DROP TABLE book", "schema_migrations", None])
@pytest.mark.parametrize(
    "function", ["make_partition($1, $2, 1)", "detach_partition($1, $2)", "drop_partition($1, $2)"]
)
async def test_a_table_is_refused_when_it_is_no_partition_to_make_or_drop(
    connection: Connection, function: str, table: str | None
) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="has no partitions of"):
        await connection.execute(f"SELECT {function}", table, NOW.date())


async def test_a_partition_in_use_is_not_dropped(connection: Connection) -> None:
    await maintain_partitions(connection, Catalogue(), NOW)
    with pytest.raises(asyncpg.ObjectInUseError):
        await connection.execute("SELECT drop_partition('usage', $1)", NOW.date())


async def test_usage_counts_once_without_deadlock_when_processes_share_subscriptions(metering_dsn: str) -> None:
    rng = random.Random(7)
    kinds = [("scan", "host"), ("calls", "call"), ("web", "app"), ("web", "cert")]
    events = [
        event(
            f"e-{n}",
            *rng.choice(kinds),
            subject=rng.choice(["sub-1", "sub-2"]),
            at=NOW - timedelta(minutes=rng.randrange(3 * 24 * 60)),
            quantity=rng.randrange(9),
            resource=f"r-{rng.randrange(50)}",
        )
        for n in range(600)
    ]

    async def work(partition: int) -> None:
        shuffled = random.Random(partition).sample(events, len(events))
        async with connect(metering_dsn) as own:
            applier = UsageApplier()
            for start in range(0, len(shuffled), 60):
                batch = records(shuffled[start : start + 60], first=start, partition=partition)
                await apply(own, batch, applier)

    await asyncio.gather(*(work(partition) for partition in range(4)))
    async with connect(metering_dsn) as own:
        assert await stored(own) == aggregates(events)
        assert await books(own) == {"accepted": 2400, "applied": 600, "duplicate": 1800}


async def test_usage_is_a_duplicate_when_another_process_commits_it_concurrently(
    metering_dsn: str,
) -> None:
    one, same = event("e-1", "calls", "call", quantity=1), event("e-2", "calls", "call", quantity=2)
    conflicting, mine = event("e-1", "calls", "call", quantity=9), event("e-3", "calls", "call", quantity=4)
    async with connect(metering_dsn) as theirs, connect(metering_dsn) as ours:
        transaction = theirs.transaction()
        await transaction.start()
        await UsageApplier().apply(begun(theirs), records([one, same]))
        waiting = asyncio.create_task(apply(ours, records([mine, conflicting, same], partition=1)))
        await until_waiting(theirs)
        await transaction.commit()
        applied = await waiting
        assert applied.outcomes == ["applied", "quarantined", "duplicate"]
        assert [value for value, _ in (await stored(ours)).values()] == [7]
        assert await books(ours) == {"accepted": 5, "applied": 3, "duplicate": 1, "quarantined": 1}


async def test_usage_is_applied_when_the_process_that_had_applied_it_rolls_back(metering_dsn: str) -> None:
    async with connect(metering_dsn) as theirs, connect(metering_dsn) as ours:
        transaction = theirs.transaction()
        await transaction.start()
        await UsageApplier().apply(begun(theirs), records([event("e-1", "calls", "call")]))
        waiting = asyncio.create_task(apply(ours, records([event("e-1", "calls", "call")], partition=1)))
        await until_waiting(theirs)
        await transaction.rollback()
        assert (await waiting).outcomes == ["applied"]


async def until_waiting(connection: Connection) -> None:
    """Wait until another transaction waits for this one."""
    blocked = "SELECT count(*) FROM pg_stat_activity WHERE pg_backend_pid() = ANY (pg_blocking_pids(pid))"
    async with asyncio.timeout(10):
        while not await connection.fetchval(blocked):  # noqa: ASYNC110  # only the server knows
            await asyncio.sleep(0.01)


async def test_a_replay_is_judged_by_its_first_arrival_and_changes_the_books(connection: Connection) -> None:
    arrived = NOW - timedelta(days=3)
    waiting = [
        event("w-1", "late", at=arrived - timedelta(days=34), resource="a"),
        event("w-2", "late", "none", at=arrived),
    ]
    await apply(connection, records([*waiting, waiting[0]], at=arrived))
    async with connection.transaction():
        await projection.save(
            connection,
            [subscription("sub-1", ("scan", "calls", "web", "late"), version=2)],
            [product("late", *PRODUCTS[0].meters)],
        )
    applier = UsageApplier()
    checked = []
    for _ in range(3):
        async with transaction(connection) as tx:
            checked.append(await retry_quarantined(tx, applier, 10))
    assert checked == [3, 0, 0]
    assert await books(connection) == {"accepted": 3, "applied": 1, "duplicate": 1, "quarantined": 1}
    rows = await connection.fetch("SELECT reason, settled_as FROM quarantine ORDER BY id")
    assert [tuple(row) for row in rows] == [
        ("unknown_product", "applied"),
        ("unknown_meter", None),
        ("unknown_product", "duplicate"),
    ]


@pytest.mark.parametrize("refreshed_elsewhere", [False, True])
async def test_usage_waits_for_the_projection_before_it_counts_as_unknown(
    connection: Connection, refreshed_elsewhere: bool
) -> None:
    shared = Projection()

    async def catch_up(own: Connection) -> None:
        # Saved in the batch's own transaction, as if another process had committed it meanwhile.
        await projection.save(own, [subscription("new", ("scan",))], [])
        if refreshed_elsewhere:  # by the HTTP API, the snapshots, or another partition's batch
            await shared.refresh(own)

    applied = await apply(
        connection,
        records([event("n", subject="new", resource="a"), event("k", resource="b"), event("u", subject="unknown")]),
        UsageApplier(shared, catch_up=catch_up),
    )
    assert applied.outcomes == ["applied", "applied", "quarantined"]
    assert applied.catalogue_version == shared.catalogue.version


async def test_other_tasks_run_when_a_large_batch_is_judged(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns: list[str] = []

    def judged(*arguments: Any) -> None:
        turns.append("judged")
        judgement.judge_records(*arguments)

    async def others() -> None:
        while True:
            turns.append("others")
            await asyncio.sleep(0)

    monkeypatch.setattr(apply_usage, "judge_records", judged)
    other = asyncio.create_task(others())
    applied = await apply(connection, records([event(f"e-{n}", resource="r") for n in range(2 * JUDGED_AT_ONCE + 1)]))
    other.cancel()
    assert applied.outcomes == ["applied"] * (2 * JUDGED_AT_ONCE + 1)
    assert turns.count("judged") == 3
    assert [turn for turn, _ in groupby(turns)].count("judged") == 3, "others run between each two"


async def test_a_backfill_equals_live_consumption(metering_dsn: str) -> None:
    start = NOW - timedelta(days=200)
    days: list[tuple[datetime, list[dict[str, Any]]]] = []
    for day in range(0, 200, 9):
        at = start + timedelta(days=day)
        days.append(
            (
                at,
                [
                    event(f"u-{day}", at=at, resource=f"r-{day % 4}"),
                    event(f"s-{day}", "calls", "call", at=at, quantity=day),
                ],
            )
        )
    every = [item for _, items in days for item in items]
    async with connect(metering_dsn) as own:
        backfill = Backfill(own)
        for at, items in days:
            batch = [(record.key or b"").decode() for record in records(items)]
            values = [record.value or b"" for record in records(items)]
            await backfill.apply(at, list(zip(batch, values, strict=True)))
        assert await stored(own) == aggregates(every)
        assert len(await partitions.load_partitions(own)) < 200


async def test_windows_are_deleted_after_a_year_unless_a_term_counts_them(connection: Connection) -> None:
    start = NOW - timedelta(days=800)
    long_term = subscription("sub-1", ("calls",), version=9, start=start)
    long_term = long_term.model_copy(update={"term": long_term.term.model_copy(update={"end": NOW})})
    async with connection.transaction():
        await projection.save(connection, [long_term], [])
    for n, days in enumerate((700, 450, 300)):
        at = NOW - timedelta(days=days)
        both = [event(f"a-{n}", "calls", "call", at=at), event(f"b-{n}", "calls", "request", at=at)]
        await apply(connection, records(both, first=2 * n, at=at))
    known = Projection()
    await known.refresh(connection)
    numbers = list(known.catalogue.by_number)
    assert await delete_old_windows(partial(transaction, connection), known.catalogue, numbers) == []
    left = Counter([key[2] for key in await stored(connection)])
    assert left == {"call": 3, "request": 1}


async def test_windows_of_others_are_deleted_when_one_calendar_cannot_be_read(
    connection: Connection, metering_dsn: str
) -> None:
    numbers = [row["number"] for row in await connection.fetch("SELECT number FROM subscription ORDER BY number")]
    insert = (
        "INSERT INTO meter_window (window_start, as_of, revision, subscription, meter, aggregate)"
        " SELECT $2, $2, 1, unnest($1::integer[]), 1, 1"
    )
    await connection.execute(insert, numbers, NOW - timedelta(days=1000))
    known = Projection()
    await known.refresh(connection)
    poisoned = Mock(number=numbers[0], state=Mock(id="poisoned", term_at=Mock(side_effect=ValueError)))
    known.catalogue = known.catalogue.with_changes(known.catalogue.version, [poisoned])
    async with connect(metering_dsn) as other, other.transaction():
        assert await partitions.try_lock_deletion(other)
        assert await delete_old_windows(partial(transaction, connection), known.catalogue, numbers) == numbers
    assert await delete_old_windows(partial(transaction, connection), known.catalogue, numbers) == numbers[:1]
    assert await connection.fetchval("SELECT array_agg(subscription) FROM meter_window") == numbers[:1]
    assert await connection.fetchval("SELECT array_agg(whose) FROM set_aside_work") == ["poisoned"]
