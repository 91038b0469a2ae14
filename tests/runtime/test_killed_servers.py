"""PostgreSQL and Kafka are killed under a service process."""

from typing import Any

from deploy.local.postgres import PostgresServer
from shared.events.topics import ALLOCATION_EVENTS_TOPIC
from tests.runtime.harness import until
from tests.runtime.tallies import Tallies
from tests.servers import durable_postgres  # noqa: F401 - the fixture postgres_server

TOPIC = ALLOCATION_EVENTS_TOPIC


async def test_it_survives_postgres_and_kafka_being_killed(
    tallies: Tallies, postgres_server: PostgresServer, kafka_server: Any
) -> None:
    wanted = [f"r{number}" for number in range(300)]
    process = tallies.start(handler_seconds="0.05")
    await process.wait_ready()
    await tallies.bench.send_many(TOPIC, [one.encode() for one in wanted[:150]])
    await until(lambda: tallies.has_noted(20))
    postgres_server.kill()
    postgres_server.restart()
    await until(lambda: tallies.has_noted(100))
    kafka_server.kill()
    kafka_server.restart()
    await tallies.bench.send_many(TOPIC, [one.encode() for one in wanted[150:]])
    await until(lambda: tallies.has_noted(300), within_seconds=60)
    await process.wait_ready()
    await tallies.assert_exactly(wanted)
