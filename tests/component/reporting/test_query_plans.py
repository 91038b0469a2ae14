"""Query plans of every statement that reads run: they use indexes."""

import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, get_args
from uuid import uuid4

import asyncpg
import pytest

from services.reporting.domain.caller import Caller
from services.reporting.domain.usage_periods import UsageInterval, WantedUsage
from services.reporting.queries.accounts import AccountQueries
from services.reporting.queries.subscriptions import SubscriptionQueries
from services.reporting.queries.usage_periods import UsageQueries
from services.reporting.store.commands import find_command
from tests.bench.loading import load_reporting
from tests.bench.workload import Workload, account, contact, subscription
from tests.conftest import MakeDatabase
from tests.support.servers.databases import as_owner, connect

NOW = datetime(2026, 11, 24, 10, tzinfo=UTC)
SUBSCRIPTIONS = 1_000
WINDOWS = 2
GROWING = {"subscriptions", "subscription_people", "consumption", "people", "allocation_changes", "alerts"} | {
    "channels",
    "commands",
    "outcomes",
    "usage_days",
    "usage_hours",
}
"""Tables that grow with the number of subscriptions.

Products, role templates and prices do not.
"""
_FILL = """
INSERT INTO allocation_changes (event_id, product, subscription, at, kind, before, after, starts_clock, version)
SELECT s.id || n, 'product-00', s.id, now(), 'allocation', 0, n, false, n FROM subscriptions s, generate_series(1, 3) n;
INSERT INTO people (id, account, email, version, state)
SELECT md5(n::text), 'account-' || n % 100, n || '@acme.example', 1, '{}' FROM generate_series(1, 5000) n;
INSERT INTO alerts (id, subscription, version, raised_at, lifecycle, state)
SELECT s.id || n, s.id, 1, now(), 'resolved', '{}' FROM subscriptions s, generate_series(1, 3) n;
INSERT INTO channels (id, subscription, version, state)
SELECT id, id, 1, '{}' FROM subscriptions WHERE id <> 'subscription-000007';
INSERT INTO outcomes (actor, command_id, outcome)
SELECT 'somebody' || n % 100, gen_random_uuid(), '{}' FROM generate_series(1, 5000) n;
INSERT INTO commands (actor, command_id, command, digest, sent_at)
SELECT 'somebody' || n % 100, gen_random_uuid(), 'a command', '', now() FROM generate_series(1, 5000) n;
INSERT INTO usage_days (subscription, product, meter, day, revision, aggregate, as_of)
SELECT s.id, 'product-00', 'meter', day, 1, 1, now()
FROM subscriptions s, generate_series(date '2026-11-01', '2026-11-24', '1 day') day;
INSERT INTO usage_hours (subscription, product, meter, day, revision, hours)
SELECT subscription, product, meter, day, 1, '[]' FROM usage_days;
ANALYZE
"""

PAULA, VERA = Caller(contact(7), "Paula", vendor=False), Caller("vera@unitpool.example", "Vera", vendor=True)
ONE = subscription(7)
RAN: list[Any] = []
"""The statements that the pool's connections have run."""
Read = Callable[[SubscriptionQueries, AccountQueries], Awaitable[Any]]
READS: dict[str, Read] = {
    "overview": lambda q, _: q.overview(PAULA, ONE),
    "me": lambda q, _: q.me(PAULA),
    "subscriptions": lambda q, _: q.subscriptions(PAULA, 50, None, None),
    "subscriptions of the vendor": lambda q, _: q.subscriptions(VERA, 50, None, None),
    "subscriptions of an account": lambda q, _: q.subscriptions(VERA, 50, None, account(7)),
    "purchases": lambda q, _: q.purchases(PAULA, ONE),
    "history of allocations": lambda q, _: q.allocations(PAULA, ONE, 50, None),
    "what a plan was shown": lambda q, _: q.seen(ONE, ["product-00"]),
    "channels": lambda q, _: q.channels(PAULA, ONE, 50, None),
    "account": lambda _, a: a.account(PAULA, account(7)),
}


@pytest.fixture
async def pool(database: MakeDatabase) -> Any:
    """Open a pool on read models with many subscriptions."""
    dsn = await database("reporting")
    await load_reporting(dsn, Workload(0, SUBSCRIPTIONS, NOW), WINDOWS)
    async with connect(as_owner(dsn)) as connection:
        await connection.execute(_FILL)

    async def listen(connection: Any) -> None:
        connection.add_query_logger(RAN.append)

    async with asyncpg.create_pool(dsn, min_size=1, max_size=1, setup=listen) as opened:
        yield opened


async def test_reads_use_indexes_when_tables_have_many_rows(pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    queries, accounts = SubscriptionQueries(pool, lambda: NOW), AccountQueries(pool)
    for name, read in READS.items():
        RAN.clear()
        await read(queries, accounts)
        ran = [(one.query, one.args) for one in RAN if "FROM" in one.query]
        assert ran, name
        async with pool.acquire() as connection:
            for sql, arguments in ran:
                assert not await scanned(connection, sql, arguments), (name, sql)


@pytest.mark.parametrize("interval", get_args(UsageInterval))
async def test_usage_is_found_by_index(pool: "asyncpg.Pool[asyncpg.Record]", interval: UsageInterval) -> None:
    RAN.clear()
    first = NOW - timedelta(days=40)
    wanted = WantedUsage(interval, UTC, first, NOW, first - timedelta(days=300), compare=True)
    shown = await UsageQueries(pool, lambda: NOW).usage(PAULA, ONE, wanted)
    assert shown.items
    ran = [(one.query, one.args) for one in RAN if "FROM" in one.query]
    async with pool.acquire() as connection:
        for sql, arguments in ran:
            assert not await scanned(connection, sql, arguments), sql


async def test_command_is_found_by_index(pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    RAN.clear()
    async with pool.acquire() as connection:
        await find_command(connection, "somebody7", uuid4())
    (one,) = [one for one in RAN if "FROM" in one.query]  # the listener is called by the event loop
    async with pool.acquire() as connection:
        assert not await scanned(connection, one.query, one.args)


async def test_sequential_scan_is_reported(pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    async with pool.acquire() as connection:
        assert await scanned(connection, "SELECT id FROM alerts WHERE lifecycle = $1", ("resolved",)) == {"alerts"}


async def scanned(connection: Any, sql: str, arguments: Any) -> set[str]:
    """Return the growing tables that the statement scans sequentially."""
    plan = json.loads(await connection.fetchval(f"EXPLAIN (FORMAT JSON) {sql}", *arguments))
    return {one["Relation Name"] for one in _nodes(plan[0]["Plan"]) if one["Node Type"] == "Seq Scan"} & GROWING


def _nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(node for child in plan.get("Plans", ()) for node in _nodes(child))]
