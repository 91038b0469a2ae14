"""Upgrades of databases from before people, roles, terms and prices."""

import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncpg

from services.allocation.domain.subscriptions import Terms
from services.allocation.handlers.backfill import backfill
from shared.events.allocation import ALLOCATION_EVENTS, PEOPLE_EVENTS
from shared.events.commands.subscriptions import SetGrants
from shared.events.envelope import by_type, decode
from shared.runtime.delivery.batch_runner import transaction
from shared.runtime.postgres.grants import Access
from shared.runtime.postgres.migrations import load_migrations, migrate
from tests.support.drivers.allocation import PRIMARY, START, AllocationDriver, by_address
from tests.support.servers.databases import SERVICES, as_owner, connect

MIGRATIONS = SERVICES / "allocation" / "migrations"
EVENTS = by_type(ALLOCATION_EVENTS + PEOPLE_EVENTS)
BEFORE = """
INSERT INTO accounts VALUES ('acme', 'Acme', true, 2), ('globex', 'Globex', true, 2);
INSERT INTO products VALUES ('scan', 'Scan', '{/platforms/scan}', NULL, 2);
INSERT INTO subscriptions (
    id, account, name, model, unit_label, term_start, term_end, window_days, primary_email, primary_name,
    rebalance_every_days, rebalance_scope, version
)
SELECT id, account, id, 'flex', 'Units', '2026-01-01Z', '2027-01-01Z', 15, email, name, 90, 'subscription', 3
FROM (VALUES
    ('a-1', 'acme', 'paula@acme.example', 'Paula'),
    ('a-2', 'acme', 'paula@acme.example', 'Paula again'),
    ('g-1', 'globex', 'sam@globex.example', 'Sam')
) AS old (id, account, email, name);
INSERT INTO grants VALUES ('a-1', 'alan@acme.example', 'allocator'), ('a-2', 'paula@acme.example', 'viewer');
INSERT INTO lots VALUES ('a-1', 'l-1', 0, 100, '2026-01-01Z', '2027-01-01Z', 'PO', '2026-01-01Z');
INSERT INTO allocations VALUES
    ('a-1', 'scan', 0, 10, 'soft', false, '2026-01-01Z', NULL),
    ('a-2', 'scan', 0, 0, 'soft', false, '2026-01-01Z', NULL);
"""


async def test_people_roles_and_templates_are_created_when_an_old_database_is_upgraded(
    database: Callable[[str, Path], Awaitable[str]], tmp_path: Path
) -> None:
    for file in sorted(MIGRATIONS.glob("*.sql"))[:3]:
        shutil.copy(file, tmp_path)
    dsn = await database("allocation", tmp_path)
    async with connect(as_owner(dsn)) as owner:
        await owner.execute(BEFORE)
        applied = await migrate(owner, load_migrations("allocation", MIGRATIONS), Access("test_allocation"))
    assert "allocation/0005_people_roles_prices" in applied
    async with asyncpg.create_pool(dsn, min_size=1, max_size=2) as pool:
        driver = AllocationDriver(pool, now=START.replace(month=3), terms=Terms())
        published = await completed(driver)
        assert [type(one).__name__ for one in published] == [
            "RoleTemplatesChanged",
            *["PersonChanged"] * 3,
            *["RoleChanged"] * 4,
        ]
        people = [(one.person.account, one.person.email, one.person.name, one.person.version) for one in published[1:4]]
        assert people == [
            ("acme", "alan@acme.example", "alan@acme.example", 1),
            ("acme", "paula@acme.example", "Paula", 1),
            ("globex", "sam@globex.example", "Sam", 1),
        ]
        assert len({one.person.id for one in published[1:4]}) == 3
        assert {one.role.account for one in published[4:]} == {"acme"}
        assert await completed(driver) == []
        plan = await driver.plan("a-1", scan=20, by="alan@acme.example")
        assert (plan.code, plan.subscription.allocated) == ("accepted", 20)
        assert [lot.price for lot in plan.subscription.lots] == [None]
        given = await driver.ask(
            by_address(SetGrants, subscription="a-1", email="alan@acme.example", grants=("viewer",)), PRIMARY
        )
        assert [one.grant for one in given.subscription.grants] == ["viewer"]


async def completed(driver: AllocationDriver) -> list[Any]:
    """Run the backfill to its end; return its events."""
    published: list[Any] = []
    left = 1
    while left:
        async with transaction(driver.pool, lambda: driver.now, "allocation") as tx:
            left = await backfill(tx)
            published += [event.data for one in tx.pending if (event := decode(one.value or b"", EVENTS))]
    return published
