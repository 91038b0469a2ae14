"""Kills of processes and servers under load, and a platform that publishes."""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence

import psutil

from deploy.local.kafka import KafkaServer
from deploy.local.postgres import PostgresServer
from tests.support.drivers.processes import ServiceProcess
from tests.support.drivers.product import Product, until
from tests.support.references.crash_workload import Sent
from tests.support.servers.databases import connect

STEPS = ("usage", "sighting", "meter_window", "snapshot_due", "book", "consumer_offsets")
"""Metering's tables in the order of a batch.

A lock on one holds a batch just there while its process is killed.
"""
TURN = ("allocation", "metering", "alerts", "metering", "reporting", "metering")
READY_SECONDS = 120


async def publish(product: Product, records: Sequence[Sent]) -> None:
    """Publish records until the broker has acknowledged them.

    Like a platform, it sends them again unchanged.
    """
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


class Killer:
    """Kill one process or server after another, and start it again.

    ``metering``: the names of metering's processes. ``guest``: the one among them that also leaves in order and joins
    again, under load.
    """

    def __init__(
        self, product: Product, postgres: PostgresServer, kafka: KafkaServer, metering: Sequence[str], guest: str | None
    ) -> None:
        self._product = product
        self._postgres = postgres
        self._kafka = kafka
        self._metering = metering
        self._guest = guest
        self._is_away = False
        self._random = random.Random(7)
        self.killed: Counter[str] = Counter()
        self.between_steps = self.left = self.joined = 0

    async def run(self, slices: Sequence[Sequence[Sent]]) -> None:
        """Kill a process or server while each slice is published.

        Every second kill is of metering, between its steps; each server is killed once.
        """
        servers: dict[int, tuple[str, PostgresServer | KafkaServer]] = {
            len(slices) // 3: ("kafka", self._kafka),
            2 * len(slices) // 3: ("postgres", self._postgres),
        }
        for number, records in enumerate(slices):
            name, server = servers.get(number, (TURN[number % len(TURN)], None))
            if name == "metering":
                step = self.between_steps % len(STEPS)
                name = await self._hold_and_kill(STEPS[step], records)
            else:
                publishing = asyncio.create_task(publish(self._product, records))
                await asyncio.sleep(self._random.uniform(0.05, 0.5))
                await self._stop_or_start(name)
                await self._kill(name, server)
                await publishing
            self.killed[name] += 1
            await self._start_again(name)
        if self._is_away:
            self._start_guest()
        await self._wait_all_ready()

    async def _stop_or_start(self, name: str) -> None:
        """Stop the guest when reporting is killed; start it at the next turn."""
        if self._guest and self._is_away:
            self._start_guest()
        elif self._guest and name == "reporting":
            assert await self._product.services[self._guest].terminate(30) == 0
            self._is_away = True
            self.left += 1

    def _start_guest(self) -> None:
        assert self._guest
        self._product.services[self._guest].start()
        self._is_away = False
        self.joined += 1

    async def _kill(self, name: str, server: PostgresServer | KafkaServer | None) -> None:
        if server is None:
            self._product.services[name].kill()
        else:
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.restart)

    async def _start_again(self, name: str) -> None:
        if name in self._product.services:
            self._product.services[name].start()
        await self._wait_all_ready()

    async def _wait_all_ready(self) -> None:
        for name, service in self._product.services.items():
            if name != self._guest or not self._is_away:
                await service.wait_ready(READY_SECONDS)

    async def _hold_and_kill(self, table: str, records: Sequence[Sent]) -> str:
        """Stop a batch in its transaction, and kill its process; return its name.

        A lock on ``table`` stops it.
        """
        async with connect(self._product.databases["metering"]) as connection, connection.transaction():
            await connection.execute(f'LOCK TABLE "{table}" IN EXCLUSIVE MODE')
            await publish(self._product, records)

            async def held() -> set[int]:
                rows = await connection.fetch(
                    "SELECT client_port FROM pg_stat_activity JOIN pg_locks USING (pid)"
                    " WHERE NOT granted AND relation = $1::text::regclass",
                    table,
                )
                return {row["client_port"] for row in rows}

            ports = await until(held, f"a batch waits for {table}", timeout_seconds=60, every_seconds=0.02)
            waiting = [name for name in self._metering if _is_connected(self._service(name), ports)]
            victim = min(waiting, key=lambda name: self.killed[name])
            self._service(victim).kill()
            self.between_steps += 1
        return victim

    def _service(self, name: str) -> ServiceProcess:
        return self._product.services[name]


def _is_connected(service: ServiceProcess, ports: set[int]) -> bool:
    """Whether one of these connections to PostgreSQL belongs to the process."""
    if service.exit_code is not None:
        return False
    return any(one.laddr and one.laddr.port in ports for one in psutil.Process(service.pid).net_connections("tcp"))
