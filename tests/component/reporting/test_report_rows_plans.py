"""Query plans of the steps of reports: each reads by the index of its order."""

import json
from datetime import timedelta
from typing import Any

from services.reporting.domain.reports.catalogue import REPORTS
from services.reporting.queries.report_sources.opening import SOURCES, open_source
from services.reporting.queries.report_sources.positions import write_position
from services.reporting.store.consistent_read import consistent_read
from tests.support.builders.published import NOW, PRIMARY, VENDOR
from tests.support.builders.reports import consumption, states
from tests.support.drivers.report_rows import report_request
from tests.support.drivers.reporting import ReportingDriver
from tests.support.servers.databases import as_owner, connect

GROWING = {"subscriptions", "consumption", "allocation_changes", "alerts", "deliveries", "audit_log", "quarantine"} | {
    "usage_books",
    "roles",
    "people",
    "subscription_people",
}
_FILL = """
INSERT INTO subscriptions SELECT 'many-' || n, 'many', 1, state FROM subscriptions, generate_series(1, 3000) AS n
WHERE id = 'sub-3';
INSERT INTO subscription_people SELECT md5('one' || n), 'many-' || n, 'viewer' FROM generate_series(1, 3000) AS n;
INSERT INTO people SELECT md5('one' || n), 'many', n || '@many.example', 1, null, state
FROM people, generate_series(1, 3000) AS n WHERE email = 'gwen@globex.example';
INSERT INTO allocation_changes
SELECT 'many-' || n, product, 'many-' || n, at, kind, before, after, actor, reason, starts_clock, version
FROM allocation_changes, generate_series(1, 3000) AS n WHERE event_id = 'plan-1';
INSERT INTO alerts SELECT 'many-' || n, 'many-' || n, 1, raised_at, lifecycle, state
FROM alerts, generate_series(1, 3000) AS n WHERE id = 'alert-1';
INSERT INTO deliveries SELECT 'many-' || n, alert, 'many-' || n, channel, outcome, attempts, settled_at, last_error
FROM deliveries, generate_series(1, 3000) AS n WHERE id = 'delivery-1';
INSERT INTO consumption (
    subscription, product, window_start, window_end, revision, consumed, level, burned_down, as_of, meters
)
SELECT 'many-' || n, product, window_start, window_end, revision, consumed, level, burned_down, as_of, meters
FROM consumption, generate_series(1, 3000) AS n WHERE subscription = 'sub-3';
INSERT INTO usage_books (
    day, source, product, accepted, applied, duplicate, quarantined, revision, lost
)
SELECT day - n, source || n, product, accepted, applied, duplicate, quarantined, revision, lost
FROM usage_books, generate_series(100, 3000) AS n;
INSERT INTO quarantine
SELECT n, received_at, reason, source, product, subscription, settled_at, settled_as, version, state
FROM quarantine, generate_series(100, 3000) AS n WHERE id = 1;
INSERT INTO roles SELECT 'many-' || n, role, product, version, state FROM roles, generate_series(1, 3000) AS n
WHERE role = 'scan-own';
INSERT INTO audit_log (
    event_id, source, at, account, subscription, actor, action, outcome, record, recorded, chain_sequence,
    previous_hash, hash
)
SELECT 'many-' || n, source, at, 'many', subscription, actor, action, outcome, record, recorded, n, previous_hash, hash
FROM audit_log, generate_series(1, 3000) AS n WHERE event_id = 'event-1';
INSERT INTO audit_chains VALUES ('many', 3000, sha256(''));
ANALYZE
"""
PLACES = {
    "audit": (0, "many", 1500, None, None),
    "allocation-history": ("many-20", NOW.isoformat(), "many-20", "scan"),
    "alerts": ("many-20", NOW.isoformat(), "many-20"),
    "deliveries": ("many-20", "many-20"),
    "reconciliation": ((NOW - timedelta(days=900)).date().isoformat(), "scan", "/platforms/scan"),
    "quarantine": (1500,),
    "roles-and-permissions": ("roles", "many-20", "scan-own"),
}
"""A place in the middle of each table; the others go by subscription."""


async def test_each_step_reads_by_index(empty: ReportingDriver) -> None:
    await empty.apply(*states())
    await empty.measure(*consumption())
    async with connect(as_owner(empty.runtime.settings.database_url.get_secret_value())) as owner:
        await owner.execute(_FILL)
    for report in SOURCES:
        place = write_position(*PLACES.get(report, ("many-20",)))
        for who in (VENDOR, PRIMARY) if REPORTS[report].audience != "vendor" else (VENDOR,):
            ran = await statements(empty, report, who, place)
            assert ran, report
            async with empty.runtime.pool.acquire() as connection:
                for sql, arguments in ran:
                    assert not await scanned(connection, sql, arguments), (report, who, sql)


async def statements(driver: ReportingDriver, report: str, who: str, place: str) -> list[tuple[str, Any]]:
    """Return the statements of one step, with their values."""
    ran: list[Any] = []
    async with consistent_read(driver.runtime.pool) as connection:
        connection.add_query_logger(ran.append)
        await open_source(report_request(report, who)).read(connection, place, 10)
        await connection.fetchval("SELECT 1")  # the listener is called by the event loop
        connection.remove_query_logger(ran.append)
    return [(one.query, one.args) for one in ran if "FROM" in one.query]


async def test_a_sequential_scan_is_reported(empty: ReportingDriver) -> None:
    async with empty.runtime.pool.acquire() as connection:
        assert await scanned(connection, "SELECT id FROM alerts WHERE lifecycle = $1", ("x",)) == {"alerts"}


async def scanned(connection: Any, sql: str, arguments: Any) -> set[str]:
    """Return the growing tables that a statement scans sequentially."""
    plan = json.loads(await connection.fetchval(f"EXPLAIN (FORMAT JSON) {sql}", *arguments))
    return {one["Relation Name"] for one in _nodes(plan[0]["Plan"]) if one["Node Type"] == "Seq Scan"} & GROWING


def _nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(node for child in plan.get("Plans", ()) for node in _nodes(child))]
