"""Repeated kills of everything under load: nothing is lost or counted twice.

Several processes of metering share the partitions. All but the last are named members of their groups, so a restart of
them moves no partition; the last has no name, leaves and joins. Sizes by ``UNITPOOL_CRASH_EVENTS`` (200,000),
``UNITPOOL_CRASH_KILLS`` (24) and ``UNITPOOL_CRASH_PROCESSES`` (3); a large run has 500,000, 60 and 3.
"""

import asyncio
import json
import os
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from deploy.local.kafka import KafkaServer
from deploy.local.people import DemoPerson
from deploy.local.postgres import PostgresServer
from deploy.local.topics import create_topics
from shared.events.topics import every_topic
from tests.support.drivers.catalogue import make_catalogue, make_customer
from tests.support.drivers.killers import Killer
from tests.support.drivers.product import PRIMARY, SERVICES, STRANGER, Customer, Product, until
from tests.support.references.crash_workload import Expected, Workload, expected
from tests.support.servers.databases import connect, create_database

EVENTS = int(os.environ.get("UNITPOOL_CRASH_EVENTS", "200000"))
KILLS = int(os.environ.get("UNITPOOL_CRASH_KILLS", "24"))
PROCESSES = int(os.environ.get("UNITPOOL_CRASH_PROCESSES", "3"))
METERING = ("metering", *(f"metering-{number}" for number in range(2, PROCESSES + 1)))
GUEST = METERING[-1] if PROCESSES > 1 else None
"""The member without a name, which leaves and joins."""

pytestmark = pytest.mark.timeout(900 + 30 * KILLS)


@pytest.fixture
def own_servers(tmp_path: Path) -> Iterator[tuple[PostgresServer, KafkaServer]]:
    """Start servers that this test may kill."""
    postgres, kafka = PostgresServer(tmp_path / "postgres"), KafkaServer(tmp_path / "kafka")
    try:
        postgres.start()
        kafka.start()
        yield postgres, kafka
    finally:
        kafka.kill()
        postgres.kill()


async def test_nothing_is_lost_or_counted_twice_when_everything_is_killed(
    own_servers: tuple[PostgresServer, KafkaServer], tmp_path: Path
) -> None:
    postgres, kafka = own_servers
    await create_topics(kafka.bootstrap_servers, "", list(every_topic()))
    databases = {name: await create_database(postgres.admin_dsn, name) for name in SERVICES}
    members = {name: _member(name) for name in METERING}
    settings, replicas = {"metering": members.pop("metering")}, members
    async with Product(databases, kafka.bootstrap_servers, "", tmp_path, settings, replicas) as product:
        customers = await _customers(product)
        workload = Workload({one.subscription: one.start for one in customers}, datetime.now(UTC), EVENTS)
        records = list(workload.records())
        size = -(-len(records) // KILLS)
        slices = [records[first : first + size] for first in range(0, len(records), size)]
        buying = asyncio.create_task(_buy(product, customers[0]))
        killer = Killer(product, postgres, kafka, METERING, GUEST)
        await killer.run(slices)
        bought = await buying
        await _assert_exact(product, expected(workload, records), customers, bought, killer)


def _member(name: str) -> dict[str, str]:
    """Return the settings of one process."""
    if name == GUEST:
        return {}
    return {"group_instance_id": name, "session_timeout_seconds": "10"}


async def _customers(product: Product) -> list[Customer]:
    await make_catalogue(product)
    contacts = [PRIMARY, STRANGER, *(DemoPerson(f"c{n}", f"c{n}@customer{n}.example", f"C {n}", "") for n in range(6))]
    return [await make_customer(product, f"customer-{n}", contact) for n, contact in enumerate(contacts)]


async def _buy(product: Product, customer: Customer) -> int:
    """Buy single units until stopped, each with one idempotency key until answered."""
    path = f"/v1/subscriptions/{customer.subscription}/purchases"
    for number in range(20):
        body = {"units": 1, "order_reference": f"crash-{number}"}
        await product.done("vendor", "POST", path, body, Idempotency_Key=str(uuid4()))
    return 20


async def _assert_exact(
    product: Product, truth: Expected, customers: list[Customer], bought: int, killer: Killer
) -> None:
    assert killer.killed.total() >= KILLS
    assert killer.between_steps >= KILLS // 3
    assert len(set(METERING) & set(killer.killed)) >= min(2, PROCESSES)
    assert killer.joined == killer.left >= (KILLS // 8 if GUEST else 0)
    books = await until(lambda: _books(product, truth.accepted), "all usage is accounted for", timeout_seconds=180)
    assert books == {
        "accepted": truth.accepted,
        "applied": truth.applied,
        "duplicate": truth.duplicate,
        "quarantined": truth.quarantined,
    }
    async with connect(product.databases["reporting"]) as connection:

        async def is_shown() -> bool:
            return await _consumption(connection) == truth.consumed

        try:
            await until(is_shown, "reporting shows the consumption", timeout_seconds=60)
        except AssertionError:
            assert await _consumption(connection) == truth.consumed
            raise
    overview = await product.overview(customers[0].subscription)
    assert overview["purchased"] == 5_000 + bought
    await _assert_no_alert_twice(product, customers)
    for name in SERVICES:
        async with connect(product.databases[name]) as connection:
            assert await connection.fetchval("SELECT count(*) FROM outbox") == 0


async def _books(product: Product, accepted: int) -> dict[str, int] | None:
    async with connect(product.databases["metering"]) as connection:
        row = await connection.fetchrow(
            "SELECT sum(accepted)::bigint AS accepted, sum(applied)::bigint AS applied,"
            " sum(duplicate)::bigint AS duplicate, sum(quarantined)::bigint AS quarantined FROM book"
        )
    return dict(row) if row and (row["accepted"] or 0) >= accepted else None


async def _consumption(connection: Any) -> dict[tuple[str, str, datetime], int]:
    rows = await connection.fetch(
        "SELECT subscription, product, window_start, consumed FROM consumption WHERE consumed > 0"
    )
    return {(row["subscription"], row["product"], row["window_start"]): row["consumed"] for row in rows}


async def _assert_no_alert_twice(product: Product, customers: list[Customer]) -> None:
    async with connect(product.databases["reporting"]) as connection:
        rows = await connection.fetch("SELECT state FROM alerts")
    assert len(customers) > 1
    assert rows, "the workload uses more than is allocated: there must be alerts"
    raised = Counter(
        tuple(alert[name] for name in ("subscription", "rule", "scope", "product", "threshold", "window_start"))
        for alert in map(_loads, (row["state"] for row in rows))
    )
    assert [key for key, times in raised.items() if times > 1] == []


def _loads(body: Any) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(body) if isinstance(body, str) else body
    return loaded
