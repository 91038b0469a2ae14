"""Statements of the store: all fit the schema, and frequent reads use indexes."""

import importlib
import json
import pkgutil
from types import ModuleType
from typing import Any

from services.reporting import store
from services.reporting.store import consumption, subscriptions
from tests.support.builders.published import START, WINDOW, created, snapshot, subscription
from tests.support.drivers.reporting import ReportingDriver

READS_OF_THE_OVERVIEW: dict[str, tuple[ModuleType, list[object]]] = {
    "_FIND": (subscriptions, ["sub-1"]),
    "_OF_TERM": (consumption, ["sub-1", START, WINDOW.start]),
}


def statements() -> list[tuple[str, str]]:
    """Collect every SQL constant of the store."""
    found = []
    for module in pkgutil.iter_modules(store.__path__):
        loaded = importlib.import_module(f"services.reporting.store.{module.name}")
        for name, value in vars(loaded).items():
            if name.startswith("_") and name.isupper() and isinstance(value, str):
                found.append((f"{module.name}.{name}", value))
    return found


async def test_every_statement_can_be_prepared(empty: ReportingDriver) -> None:
    known = statements()
    assert len(known) > 30
    async with empty.runtime.pool.acquire() as connection:
        for name, sql in known:
            assert await connection.prepare(sql), name


async def test_overview_reads_by_index_and_each_table_once(empty: ReportingDriver) -> None:
    await empty.apply(*(created(subscription(f"sub-{n}")) for n in range(200)))
    await empty.measure(*(snapshot(n + 1, windows_ago=ago, sub=f"sub-{n}") for n in range(200) for ago in range(4)))
    async with empty.runtime.pool.acquire() as connection:
        await connection.execute("ANALYZE")
        await connection.execute("SET enable_seqscan = off")
        for name, (module, arguments) in READS_OF_THE_OVERVIEW.items():
            sql: str = getattr(module, name)
            plan = json.loads(await connection.fetchval(f"EXPLAIN (FORMAT JSON) {sql}", *arguments))
            nodes = list(_nodes(plan[0]["Plan"]))
            scans = [node for node in nodes if "Relation Name" in node]
            assert [node["Node Type"].startswith(("Index", "Bitmap")) for node in scans] == [True], (name, nodes)
        await connection.execute("RESET enable_seqscan")


def _nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(node for child in plan.get("Plans", ()) for node in _nodes(child))]
