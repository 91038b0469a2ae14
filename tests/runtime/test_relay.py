"""The relay: rows are sent in order, through crashes and outages.

They are deleted only after Kafka's acknowledgement.
"""

import asyncio
import os
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from deploy.local.topics import create_topics
from shared.events.topics import ALERTS_EVENTS_TOPIC
from shared.runtime.delivery import outbox, outbox_set_aside
from shared.runtime.delivery.relay import LOCK, Relay
from shared.runtime.records import Outgoing
from tests.support.drivers.runtime import Bench, until
from tests.support.servers.databases import connect

TOPIC = ALERTS_EVENTS_TOPIC


async def write(bench: Bench, first: int, count: int) -> None:
    """Insert rows of one key, ten per transaction."""
    async with connect(bench.dsn) as connection:
        for start in range(first, first + count, 10):
            rows = [Outgoing(TOPIC.name, b"k", str(number).encode()) for number in range(start, start + 10)]
            async with connection.transaction():
                await outbox.insert(connection, rows)


async def waiting(bench: Bench) -> int:
    async with connect(bench.dsn) as connection:
        return (await outbox.measure(connection))[0]


async def is_empty(bench: Bench) -> bool:
    return await waiting(bench) == 0


async def sent(bench: Bench) -> list[int]:
    return [int(record.value) for record in await bench.records(TOPIC)]


async def stop(*tasks: "asyncio.Task[Any]") -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_two_replicas_send_every_row_once_and_in_order(bench: Bench) -> None:
    relays = [Relay(bench.settings(), "alerts") for _ in range(2)]
    tasks = [asyncio.create_task(relay.run()) for relay in relays]
    await write(bench, 0, 500)
    await until(lambda: is_empty(bench))
    assert [relay.holds_lock for relay in relays].count(True) == 1
    await stop(*tasks)
    assert await sent(bench) == list(range(500))


async def test_a_standby_takes_over_when_the_relay_ends(bench: Bench) -> None:
    first, second = Relay(bench.settings(), "alerts"), Relay(bench.settings(), "alerts")
    running = asyncio.create_task(first.run())
    await until(lambda: first.holds_lock)
    standby = asyncio.create_task(second.run())
    await write(bench, 0, 100)
    await stop(running)
    await write(bench, 100, 100)
    await until(lambda: is_empty(bench))
    assert second.holds_lock
    await stop(standby)
    assert await sent(bench) == list(range(200))


async def test_the_relay_resumes_in_order_when_its_connection_is_lost(bench: Bench) -> None:
    """Rows that were sent and not yet deleted are sent again, in order.

    None is missing.
    """
    relay = Relay(bench.settings(), "alerts")
    task = asyncio.create_task(relay.run())
    writing = asyncio.create_task(write(bench, 0, 2000))
    cuts = 0
    while cuts < 5 and not (writing.done() and await is_empty(bench)):
        async with connect(bench.dsn) as connection:
            cuts += await connection.fetchval(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_locks "
                "WHERE locktype = 'advisory' AND objid = $1 AND pid <> pg_backend_pid() AND database ="
                " (SELECT oid FROM pg_database WHERE datname = current_database())",
                LOCK & 0xFFFFFFFF,
            )
        await asyncio.sleep(0.05)
    await writing
    await until(lambda: is_empty(bench))
    await stop(task)
    assert cuts > 0
    numbers = await sent(bench)
    first_seen = list(dict.fromkeys(numbers))
    assert first_seen == list(range(2000))


async def test_headers_keys_and_empty_values_are_sent_unchanged(bench: Bench) -> None:
    relay = Relay(bench.settings(), "alerts")
    task = asyncio.create_task(relay.run())
    async with connect(bench.dsn) as connection:
        rows = [
            Outgoing(TOPIC.name, b"\xff\x00", b"\x00\xfe", (("h", b"\xff"), ("h", b""), ("nul\x00name", b"1"))),
            Outgoing(TOPIC.name, None, None),
        ]
        await outbox.insert(connection, rows)
    await until(lambda: is_empty(bench))
    await stop(task)
    records = {record.value: record for record in await bench.records(TOPIC)}
    assert records[b"\x00\xfe"].key == b"\xff\x00"
    assert records[b"\x00\xfe"].headers == (("h", b"\xff"), ("h", b""), ("nul\x00name", b"1"))
    assert (records[None].key, records[None].headers) == (b"", ())  # aiokafka cannot send neither key nor value


async def test_rows_are_sent_when_kafka_is_back(bench: Bench, kafka_server: Any) -> None:
    relay = Relay(bench.settings(), "alerts")
    task = asyncio.create_task(relay.run())
    await write(bench, 0, 100)
    await until(lambda: is_empty(bench))
    kafka_server.kill()
    await write(bench, 100, 100)
    assert await waiting(bench) > 0
    kafka_server.restart()
    await until(lambda: is_empty(bench), within_seconds=60)
    await stop(task)
    assert sorted(set(await sent(bench))) == list(range(200))
    numbers = list(dict.fromkeys(await sent(bench)))
    assert numbers == list(range(200))


async def put(bench: Bench, *rows: tuple[str, bytes | None, bytes]) -> None:
    """Insert rows (topic, key, value)."""
    async with connect(bench.dsn) as connection:
        await outbox.insert(connection, [Outgoing(*row) for row in rows])


async def refused(bench: Bench) -> outbox_set_aside.Refused:
    async with connect(bench.dsn) as connection:
        return await outbox_set_aside.describe(connection)


async def values(bench: Bench, topic: str) -> list[bytes]:
    return [record.value for record in await bench.records(topic)]


async def allow(bench: Bench, topic: str, *, record_bytes: int) -> None:
    """Raise the topic's limit of the record size."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bench.kafka)
    await admin.start()
    try:
        limit = {"max.message.bytes": str(record_bytes)}
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, f"{bench.prefix}{topic}", limit)])
    finally:
        await admin.close()


async def test_refused_rows_are_set_aside_and_sent_when_kafka_accepts_them(bench: Bench) -> None:
    """Rows too large for their topic are set aside, with and without a key.

    The others are sent.
    """
    topic = "alerts.small"
    # A new topic, because a changed limit takes effect some time after Kafka has confirmed it.
    await create_topics(bench.kafka, bench.prefix, [replace(TOPIC, name=topic, max_record_bytes=2_000)])
    large = os.urandom(5_000)  # compresses badly
    relay = Relay(bench.settings(), "alerts")
    task = asyncio.create_task(relay.run())
    try:
        await put(
            bench,
            (topic, b"good", b"1"),
            (topic, b"bad", large),
            (topic, None, large),
            (topic, b"good", b"2"),
            (topic, b"bad", b"behind it"),
            (topic, None, b"without a key"),
        )
        await until(lambda: has(bench, 3), what="only what is refused, and what is behind it, to be left")
        await put(bench, (topic, b"good", b"3"), (topic, b"bad", b"further behind"))
        await until(lambda: has(bench, 4))
        aside = await refused(bench)
        assert aside.places == 2
        assert "MessageSizeTooLarge" in aside.error
        found = list(dict.fromkeys(await values(bench, topic)))
        assert [value for value in found if value in {b"1", b"2", b"3"}] == [b"1", b"2", b"3"]
        assert set(found) == {b"1", b"2", b"3", b"without a key"}
        await allow(bench, topic, record_bytes=1_000_000)
        await until(lambda: is_empty(bench), what="the refused rows to be sent automatically")
        assert (await refused(bench)).places == 0
    finally:
        await stop(task)
    ours = [record.value for record in await bench.records(topic) if record.key == b"bad"]
    assert list(dict.fromkeys(ours)) == [large, b"behind it", b"further behind"]


async def test_other_topics_are_sent_when_one_topic_does_not_exist(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_set_aside, "DELAY_MAX", timedelta(seconds=1))
    relay = Relay(bench.settings(), "alerts")
    task = asyncio.create_task(relay.run())
    topic = "not.there"
    try:
        await put(bench, (topic, b"a", b"1"), (TOPIC.name, b"k", b"1"), (topic, b"b", b"2"))
        await until(lambda: has(bench, 2), what="the others to go")
        await put(bench, (TOPIC.name, b"k", b"2"), (topic, b"a", b"3"))
        await until(lambda: has(bench, 3), within_seconds=5, what="the others to go at once")
        assert (await refused(bench)).topic == topic
        await create_topics(bench.kafka, bench.prefix, [replace(TOPIC, name=topic, partitions=1)])
        await until(lambda: is_empty(bench), what="its own rows to be sent automatically")
    finally:
        await stop(task)
    assert await values(bench, topic) == [b"1", b"2", b"3"]
    assert list(dict.fromkeys(await sent(bench))) == [1, 2]


async def has(bench: Bench, count: int) -> bool:
    return await waiting(bench) == count
