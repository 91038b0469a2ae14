"""One batch, one transaction: records are applied exactly once.

A bad record costs no other.
"""

import asyncio
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import OffsetAndMetadata

from shared.events.topics import ALLOCATION_EVENTS_TOPIC
from shared.runtime.delivery.transaction import PermanentError, Transaction, TransientError
from shared.runtime.process.clock import utc_now
from shared.runtime.records import Record
from shared.runtime.service.definition import Runtime
from tests.support.drivers.runtime import Bench, reason_headers, until
from tests.support.servers.databases import connect

TOPIC = ALLOCATION_EVENTS_TOPIC
DEAD = "allocation.events.alerts.dlq"
AT_ONCE = 1


@pytest.fixture(autouse=True, params=[1, 3], ids=lambda number: f"{number} at once")
def at_once(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each test with one batch at a time, and with several at the same time."""
    monkeypatch.setattr(sys.modules[__name__], "AT_ONCE", request.param)


async def apply(tx: Transaction, records: Sequence[Record]) -> None:
    """Insert each record; a record with the value ``poison`` is a permanent error."""
    for record in records:
        if record.value == b"poison":
            raise PermanentError("poisonous", "this one can never be applied")
        if record.value == b"crash":
            raise ZeroDivisionError("a bug")
        await note(tx, record)


async def note(tx: Transaction, record: Record) -> None:
    await tx.connection.execute(
        "INSERT INTO applied (id, partition, record_offset) VALUES ($1, $2, $3)",
        (record.value or b"").decode(),
        record.partition,
        record.offset,
    )


def reader(handler: Any = apply, max_records: int = 50) -> Any:
    def build(runtime: Runtime[Any]) -> None:
        runtime.consume_batch(TOPIC, *[handler] * AT_ONCE, max_records=max_records)

    return build


async def applied(bench: Bench) -> list[str]:
    async with connect(bench.dsn) as connection:
        return [row["id"] for row in await connection.fetch("SELECT id FROM applied")]


async def stored(bench: Bench) -> dict[int, int]:
    async with connect(bench.dsn) as connection:
        rows = await connection.fetch("SELECT partition, next_offset FROM consumer_offsets")
    return {row["partition"]: row["next_offset"] for row in rows}


async def test_every_record_is_applied_once_and_its_offset_stored(bench: Bench) -> None:
    wanted = [f"r{i}" for i in range(300)]
    async with bench.running(reader()):
        await bench.send_many(TOPIC, [one.encode() for one in wanted])
        await until(lambda: all_stored(bench, 300))
    assert Counter(await applied(bench)) == Counter(wanted)


async def all_stored(bench: Bench, count: int) -> bool:
    return sum((await stored(bench)).values()) == count


async def test_a_record_is_dead_lettered_and_others_are_applied_when_its_error_is_permanent(bench: Bench) -> None:
    for i in range(10):
        await bench.send(TOPIC, f"r{i}".encode())
    at = await bench.send(TOPIC, b"poison", key=b"\xff\xfekey", headers=[("h", b"\xff\x00"), ("plain", b"text")])
    for i in range(10, 20):
        await bench.send(TOPIC, f"r{i}".encode())
    async with bench.running(reader()):
        await until(lambda: all_stored(bench, 21))
        dead = await until(lambda: bench.records(DEAD))
    assert sorted(await applied(bench)) == sorted(f"r{i}" for i in range(20))
    assert [letter.value for letter in dead] == [b"poison"]
    assert dead[0].key == b"\xff\xfekey"
    assert dead[0].headers[:2] == (("h", b"\xff\x00"), ("plain", b"text"))
    why = reason_headers(dead[0])
    assert why["reason"] == "poisonous"
    assert why["message"] == "this one can never be applied"
    assert (why["topic"], why["partition"], why["offset"]) == (TOPIC.name, "0", str(at))


async def test_only_one_record_is_set_aside_when_the_handler_fails_on_it(bench: Bench) -> None:
    async with bench.running(reader()):
        await bench.send_many(TOPIC, [b"a", b"crash", b"b", b"", b"c"], partitions=1)
        await until(lambda: all_stored(bench, 5))
    assert sorted(await applied(bench)) == ["", "a", "b", "c"]
    async with connect(bench.dsn) as connection:
        assert await connection.fetchval("SELECT value FROM set_aside_records") == b"crash"
    assert not await bench.records(DEAD)


async def test_a_batch_is_retried_in_place_when_errors_are_transient(bench: Bench) -> None:
    attempts = Counter[str]()

    async def fails_at_first(tx: Transaction, records: Sequence[Record]) -> None:
        attempts["all"] += 1
        await apply(tx, records)
        if attempts["all"] <= 4:
            raise TransientError("not yet", delay_seconds=0.05)

    async with bench.running(reader(fails_at_first), retry_within_seconds=0.12) as runtime:
        await bench.send_many(TOPIC, [b"a", b"b"], partitions=1)
        await until(lambda: all_stored(bench, 2))
        consumer = runtime.consumers[0]
        assert consumer._assigned()  # it is still a member of the group
    assert sorted(await applied(bench)) == ["a", "b"]
    assert attempts["all"] >= 5
    assert not await bench.records(DEAD)


async def test_all_records_are_applied_when_the_disk_was_full_for_a_while(bench: Bench) -> None:
    attempts = Counter[str]()

    async def disk_full(tx: Transaction, records: Sequence[Record]) -> None:
        attempts["all"] += 1
        if attempts["all"] <= 2:
            raise asyncpg.DiskFullError("could not extend file: No space left on device")
        await apply(tx, records)

    async with bench.running(reader(disk_full)):
        await bench.send_many(TOPIC, [b"a", b"b"], partitions=1)
        await until(lambda: all_stored(bench, 2))
    assert not await bench.records(DEAD)


async def test_the_consumer_halts_when_everything_fails_and_starts_again_after_a_restart(bench: Bench) -> None:
    await bench.send_many(TOPIC, [b"poison"] * 10, partitions=1)
    async with bench.running(reader(), dead_letter_limit=3) as runtime:
        consumer = runtime.consumers[0]
        await until(lambda: consumer.halted)
        await bench.send(TOPIC, b"later")
        report = await runtime.health.report()
        check = report[f"consumer:{TOPIC.name}"]
        assert not check.ok
        assert "3 records of 3 keys failed" in check.detail
    assert (await stored(bench))[0] == 3
    assert len(await bench.records(DEAD)) == 3

    async with bench.running(reader(note_all), dead_letter_limit=3):
        await until(lambda: all_stored(bench, 11))
    assert len(await applied(bench)) == 8


async def note_all(tx: Transaction, records: Sequence[Record]) -> None:
    for record in records:
        await note(tx, record)


async def test_nothing_changes_when_kafkas_offsets_are_rewound(bench: Bench) -> None:
    await bench.send_many(TOPIC, [f"r{i}".encode() for i in range(30)])
    async with bench.running(reader()):
        await until(lambda: all_stored(bench, 30))
    await set_kafka_offsets(bench, 0)
    async with bench.running(reader()):
        await bench.send(TOPIC, b"new")
        await until(lambda: all_stored(bench, 31))
    assert len(await applied(bench)) == 31


async def test_no_record_is_skipped_when_kafkas_offsets_are_ahead(bench: Bench) -> None:
    await bench.send_many(TOPIC, [f"r{i}".encode() for i in range(30)])
    await set_kafka_offsets(bench, 10)
    async with bench.running(reader()):
        await until(lambda: all_stored(bench, 30))
    assert len(await applied(bench)) == 30


async def set_kafka_offsets(bench: Bench, offset: int) -> None:
    group = f"{bench.prefix}alerts.{TOPIC.name}"
    consumer = AIOKafkaConsumer(bootstrap_servers=bench.kafka, group_id=group, enable_auto_commit=False)
    await consumer.start()
    partitions = [TopicPartition(f"{bench.prefix}{TOPIC.name}", number) for number in range(3)]
    consumer.assign(partitions)
    await consumer.commit({tp: OffsetAndMetadata(offset, "") for tp in partitions})
    await consumer.stop()


async def test_everything_is_read_again_when_offsets_are_set_back_while_running(bench: Bench) -> None:
    async with bench.running(reader()):
        await bench.send_many(TOPIC, [f"r{i}".encode() for i in range(30)])
        await until(lambda: all_stored(bench, 30))
        async with connect(bench.dsn) as connection, connection.transaction():
            await connection.execute("UPDATE consumer_offsets SET next_offset = 0")
            await connection.execute("TRUNCATE applied")
        await bench.send_many(TOPIC, [f"n{i}".encode() for i in range(3)])
        await until(lambda: all_stored(bench, 33))
    assert len(await applied(bench)) == 33


async def test_the_reader_halts_with_a_clear_message_when_the_stored_offset_is_beyond_the_end(bench: Bench) -> None:
    async with connect(bench.dsn) as connection:
        await connection.execute("INSERT INTO consumer_offsets VALUES ('alerts', $1, 1, 1000)", TOPIC.name)
    async with bench.running(reader()) as runtime:
        await until(lambda: runtime.consumers[0].state(utc_now()).halted)
        sentence = runtime.consumers[0].state(utc_now()).fault or ""
        assert "stored offset 1000" in sentence
        assert "beyond the topic's end 0" in sentence


@pytest.mark.parametrize("at_once", [3], indirect=True)
async def test_other_partitions_are_applied_in_order_when_one_waits(bench: Bench) -> None:
    held, seen = asyncio.Event(), dict[int, list[bytes | None]]()
    working = Counter[int]()

    async def holds_the_first_partition(tx: Transaction, records: Sequence[Record]) -> None:
        partitions = {record.partition for record in records}
        working.update(partitions)
        assert max(working[partition] for partition in partitions) == 1, "two batches of one partition"
        if 0 in partitions:
            await held.wait()
        await apply(tx, records)
        for record in records:
            seen.setdefault(record.partition, []).append(record.value)
        working.subtract(partitions)

    async with bench.running(reader(holds_the_first_partition, max_records=7)):
        await bench.send(TOPIC, b"first", partition=0)
        await until(lambda: working[0], what="a batch of the first partition")
        for number in range(5):
            await bench.send_many(TOPIC, [f"{number}-{i}".encode() for i in range(30)])
            await until(lambda n=number: len(seen.get(2, ())) == 10 * (n + 1), what="the others")  # type: ignore[misc]
        assert 0 not in seen
        held.set()
        await until(lambda: all_stored(bench, 151))
    for partition, before in ((0, [b"first"]), (1, []), (2, [])):
        assert seen[partition] == before + [f"{n}-{i}".encode() for n in range(5) for i in range(partition, 30, 3)]


async def test_all_running_batches_end_when_the_consumer_stops(bench: Bench) -> None:
    begun = Counter[int]()

    async def slowly(tx: Transaction, records: Sequence[Record]) -> None:
        begun.update({record.partition for record in records})
        await asyncio.sleep(0.5)
        await apply(tx, records)

    async with bench.running(reader(slowly)):
        for partition in range(AT_ONCE):
            await bench.send(TOPIC, f"r{partition}".encode(), partition=partition)
            await until(lambda p=partition: begun[p], what="a batch")  # type: ignore[misc]
    assert {partition: at for partition, at in (await stored(bench)).items() if at} == dict.fromkeys(range(AT_ONCE), 1)
    assert sorted(await applied(bench)) == [f"r{partition}" for partition in range(AT_ONCE)]
