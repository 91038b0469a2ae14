"""Everything is killed, again and again, under load: nothing is lost, nothing counts twice.

Sizes by ``UNITPOOL_CRASH_EVENTS`` (200,000) and ``UNITPOOL_CRASH_KILLS`` (24).
"""

import asyncio
import json
import os
import random
from collections import Counter
from collections.abc import Iterator, Sequence
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
from tests.database import connect, create_database
from tests.e2e.catalogue import make_catalogue, make_customer
from tests.e2e.product import PRIMARY, SERVICES, STRANGER, Customer, Product, until
from tests.e2e.workload import Expected, Sent, Workload, expected

EVENTS = int(os.environ.get("UNITPOOL_CRASH_EVENTS", "200000"))
KILLS = int(os.environ.get("UNITPOOL_CRASH_KILLS", "24"))
STEPS = ("usage", "sighting", "meter_window", "snapshot_due", "book", "consumer_offsets")
"""Metering's tables in the order of a batch: a lock on one holds a batch just there while the process is killed."""

pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def own_servers(tmp_path: Path) -> Iterator[tuple[PostgresServer, KafkaServer]]:
    """Servers that this test may kill."""
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
    async with Product(databases, kafka.bootstrap_servers, "", tmp_path) as product:
        customers = await _customers(product)
        workload = Workload({one.subscription: one.start for one in customers}, datetime.now(UTC), EVENTS)
        records = list(workload.records())
        size = -(-len(records) // KILLS)
        slices = [records[first : first + size] for first in range(0, len(records), size)]
        buying = asyncio.create_task(_buy(product, customers[0]))
        killer = Killer(product, postgres, kafka)
        await killer.run(slices)
        bought = await buying
        for service in product.services.values():
            await service.wait_ready(120)
        await _all_is_right(product, expected(workload, records), customers, bought, killer)


async def _customers(product: Product) -> list[Customer]:
    await make_catalogue(product)
    contacts = [PRIMARY, STRANGER, *(DemoPerson(f"c{n}", f"c{n}@customer{n}.example", f"C {n}", "") for n in range(6))]
    return [await make_customer(product, f"customer-{n}", contact) for n, contact in enumerate(contacts)]


async def _publish(product: Product, records: Sequence[Sent]) -> None:
    """A platform that keeps trying: what is not acknowledged by the broker is sent again, as it was."""
    topic = f"{product.topic_prefix}usage.events"
    for first in range(0, len(records), 1_000):
        futures = [
            await product.producer.send(topic, sent.value, key=sent.key.encode())
            for sent in records[first : first + 1_000]
        ]
        results = await asyncio.gather(*futures, return_exceptions=True)
        failures = [result for result in results if isinstance(result, BaseException)]
        assert not failures, f"the broker did not take {len(failures)} records: {failures[0]!r}"
        await asyncio.sleep(0)


async def _buy(product: Product, customer: Customer) -> int:
    """Purchases of one unit, each asked for until it has an answer, with the same idempotency key."""
    path = f"/v1/subscriptions/{customer.subscription}/purchases"
    for number in range(20):
        body = {"units": 1, "order_reference": f"crash-{number}"}
        await product.done("vendor", "POST", path, body, Idempotency_Key=str(uuid4()))
    return 20


class Killer:
    """Kills in turn, each time something else; starts it again when it is gone."""

    def __init__(self, product: Product, postgres: PostgresServer, kafka: KafkaServer) -> None:
        self._product = product
        self._postgres = postgres
        self._kafka = kafka
        self._random = random.Random(7)
        self.killed: Counter[str] = Counter()

    async def run(self, slices: Sequence[Sequence[Sent]]) -> None:
        """A kill while each slice is published: every second one of metering, between its steps; each server once."""
        turn = ("allocation", "metering", "alerts", "metering", "reporting", "metering")
        servers: dict[int, tuple[str, PostgresServer | KafkaServer]] = {
            len(slices) // 3: ("kafka", self._kafka),
            2 * len(slices) // 3: ("postgres", self._postgres),
        }
        for number, records in enumerate(slices):
            name, server = servers.get(number, (turn[number % len(turn)], None))
            if name == "metering":
                await self._hold_and_kill(STEPS[self.killed[name] % len(STEPS)], records)
            else:
                publishing = asyncio.create_task(_publish(self._product, records))
                await asyncio.sleep(self._random.uniform(0.05, 0.5))
                await self._kill(name, server)
                await publishing
            self.killed[name] += 1
            await self._start_again(name)

    async def _kill(self, name: str, server: PostgresServer | KafkaServer | None) -> None:
        if server is None:
            self._product.services[name].kill()
        else:
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.restart)

    async def _start_again(self, name: str) -> None:
        if name in self._product.services:
            self._product.services[name].start()
        for service in self._product.services.values():
            await service.wait_ready(120)

    async def _hold_and_kill(self, table: str, records: Sequence[Sent]) -> None:
        """Stop a batch in the middle of its transaction, by a lock on the table it writes next; kill it there."""
        metering = self._product.services["metering"]
        async with connect(self._product.databases["metering"]) as connection, connection.transaction():
            await connection.execute(f'LOCK TABLE "{table}" IN EXCLUSIVE MODE')
            await _publish(self._product, records)

            async def held() -> bool:
                return bool(await connection.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))

            await until(held, f"a batch waits for {table}", timeout_seconds=60, every_seconds=0.02)
            metering.kill()
            self.killed["between steps"] += 1


async def _all_is_right(
    product: Product, truth: Expected, customers: list[Customer], bought: int, killer: Killer
) -> None:
    assert sum(killer.killed[name] for name in (*SERVICES, "kafka", "postgres")) >= KILLS
    assert killer.killed["between steps"] >= KILLS // 3
    books = await until(lambda: _books(product, truth.accepted), "all usage is accounted for", timeout_seconds=180)
    assert books == {
        "accepted": truth.accepted,
        "applied": truth.applied,
        "duplicate": truth.duplicate,
        "quarantined": truth.quarantined,
    }
    async with connect(product.databases["reporting"]) as connection:

        async def told() -> bool:
            return await _consumption(connection) == truth.consumed

        try:
            await until(told, "reporting shows what was used", timeout_seconds=60)
        except AssertionError:
            assert await _consumption(connection) == truth.consumed
            raise
    overview = await product.overview(customers[0].subscription)
    assert overview["purchased"] == 5_000 + bought
    await _no_alert_twice(product, customers)
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


async def _no_alert_twice(product: Product, customers: list[Customer]) -> None:
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
