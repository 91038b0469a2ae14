"""The relay: in order, once on purpose, whatever dies; rows go only when Kafka has acknowledged them."""

import asyncio
from typing import Any

from shared.events.topics import ALERTS_EVENTS_TOPIC
from shared.runtime import outbox
from shared.runtime.outbox import Outgoing
from shared.runtime.relay import LOCK, Relay
from tests.database import connect
from tests.runtime.harness import Bench, until

TOPIC = ALERTS_EVENTS_TOPIC


async def write(bench: Bench, first: int, count: int) -> None:
    """Rows of one key, one transaction each ten."""
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


async def test_a_standby_takes_over_when_the_relay_goes(bench: Bench) -> None:
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


async def test_a_relay_that_loses_its_connection_goes_on_in_order(bench: Bench) -> None:
    """Cut off in the middle: what it had sent but not yet deleted comes again, in order; nothing is missing."""
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


async def test_headers_keys_and_empty_values_travel_as_bytes(bench: Bench) -> None:
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


async def test_rows_wait_while_kafka_is_away_and_go_when_it_is_back(bench: Bench, kafka_server: Any) -> None:
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
