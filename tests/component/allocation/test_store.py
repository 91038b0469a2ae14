"""Allocation's statements: each fits the schema; frequent ones scan no table."""

import importlib
import pkgutil
from datetime import timedelta
from typing import Any

import asyncpg

from services.allocation import store
from services.allocation.domain.floor import Measured
from services.allocation.store import subscription_sql
from services.allocation.store.consumption import measured_of
from tests.support.drivers.allocation import START, AllocationDriver, snapshot

MODULES = [importlib.import_module(f"{store.__name__}.{one.name}") for one in pkgutil.iter_modules(store.__path__)]
STATEMENTS = {
    f"{module.__name__.rsplit('.', 1)[1]}.{name.strip('_').lower()}": value
    for module in MODULES
    for name, value in vars(module).items()
    # A statement is private to its module; in subscription_sql the private texts are parts of statements.
    if name.startswith("_") is (module is not subscription_sql) and name.isupper() and isinstance(value, str)
}
FREQUENT = sorted(
    name
    for name, text in STATEMENTS.items()
    if "VALUES" not in text and name not in {"consumption.upsert", "consumption.delete_expired"}
)


def test_there_are_statements() -> None:
    assert len(STATEMENTS) > 20


async def test_every_statement_fits_the_schema(pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    async with pool.acquire() as connection:
        for text in STATEMENTS.values():
            await connection.prepare(text)


async def test_no_frequent_statement_scans_a_table(pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("SET LOCAL enable_seqscan = off; SET LOCAL plan_cache_mode = force_generic_plan")
        scans = {name: "Seq Scan" in await explain(connection, STATEMENTS[name]) for name in FREQUENT}
        assert len(scans) > 10
        assert not [name for name, whole in scans.items() if whole]
        assert "Seq Scan" in await explain(connection, "SELECT id FROM lots WHERE units = $1")


async def explain(connection: Any, text: str) -> str:
    """The generic plan of a statement."""
    prepared = await connection.prepare(text)
    types = [one.name for one in prepared.get_parameters()]
    declared = f" ({', '.join(types)})" if types else ""
    await connection.execute(f"PREPARE guarded{declared} AS {text}")
    arguments = f" ({', '.join('NULL' for _ in types)})" if types else ""
    rows = await connection.fetch(f"EXPLAIN EXECUTE guarded{arguments}")
    await connection.execute("DEALLOCATE guarded")
    return "\n".join(row[0] for row in rows)


async def known(connection: Any) -> list[Measured]:
    """The stored consumption of all products."""
    query = f"SELECT ARRAY({subscription_sql._CONSUMPTION}) FROM (SELECT 'acme-flex' AS id) AS s"  # noqa: S608
    return [measured_of(row) for row in await connection.fetchval(query)]


async def test_only_the_windows_that_count_are_stored(driver: AllocationDriver) -> None:
    starts = [START + timedelta(days=15 * n) for n in range(5)]
    await driver.measure(*(snapshot("scan", n, at=at) for n, at in enumerate(starts)))
    async with driver.pool.acquire() as connection:
        stored = await known(connection)
    assert sorted(one.level for one in stored) == [2, 3, 4]
    await driver.measure(snapshot("scan", 99, at=starts[0], revision=9), snapshot("hub", 1, at=starts[0]))
    async with driver.pool.acquire() as connection:
        again = await known(connection)
    assert sorted((one.product, one.level) for one in again) == [("hub", 1), ("scan", 2), ("scan", 3), ("scan", 4)]


async def test_an_older_snapshot_changes_nothing(driver: AllocationDriver) -> None:
    await driver.measure(snapshot("scan", 5, revision=2), snapshot("scan", 4, revision=1))
    await driver.measure(snapshot("scan", 3, revision=2))
    async with driver.pool.acquire() as connection:
        (row,) = await known(connection)
    assert (row.level, row.revision) == (5, 2)
