"""Usage that Kafka deleted before metering read it."""

from typing import Any

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.records_to_delete import RecordsToDelete

from shared.runtime.process.clock import utc_now
from tests.conftest import TEST_PARTITIONS
from tests.support.builders.metering import event
from tests.support.drivers.metering import Metering
from tests.support.drivers.metering_clients import until
from tests.support.servers.databases import connect


async def delete_everything(metering: Metering, topic: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=metering.servers)
    await admin.start()
    try:
        places = [TopicPartition(topic, number) for number in range(TEST_PARTITIONS)]
        await admin.delete_records({place: RecordsToDelete(-1) for place in places})
    finally:
        await admin.close()


async def test_lost_usage_is_in_the_books_when_it_expired_unread(metering: Metering) -> None:
    now = utc_now()
    await metering.publish([event(f"e-{n}", at=now, resource="a") for n in range(9)])
    await metering.accepted(9)
    metering.process.kill()
    await metering.publish([event(f"lost-{n}", at=now, resource="a") for n in range(40)])
    await delete_everything(metering, f"{metering.prefix}usage.events")
    metering.process.start()
    await metering.process.wait_ready()

    async def booked() -> list[tuple[Any, ...]]:
        async with connect(metering.dsn) as connection:
            rows = await connection.fetch(
                "SELECT source, product, sum(lost)::int FROM book WHERE lost > 0 GROUP BY 1, 2 ORDER BY 1, 2"
            )
        return [tuple(row) for row in rows]

    assert await until(booked, bool) == [("unknown", "unknown", 40)]
    await metering.publish([event("after", at=now, resource="b")])
    assert await metering.accepted(10) == {"accepted": 10, "applied": 10, "duplicate": 0, "quarantined": 0}
