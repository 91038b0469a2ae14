"""Records that expire before they are read are counted as lost, and are no lag."""

import asyncio
from collections.abc import Sequence

from aiokafka import TopicPartition
from aiokafka.admin.records_to_delete import RecordsToDelete

from shared.runtime.delivery.transaction import Transaction
from shared.runtime.process import metrics
from shared.runtime.records import Record
from tests.runtime.test_delivery import all_stored, applied, apply, reader, stored
from tests.runtime.test_positions import (
    TOPIC,
    administering,
    counted,
    has_applied,
    has_applied_one,
    lost_records,
    name,
    state,
)
from tests.support.drivers.runtime import Bench, until


async def test_records_that_expired_before_they_were_read_are_counted_and_no_lag(bench: Bench) -> None:
    before = counted(metrics.RECORDS_LOST, topic=TOPIC.name, reason="expired")
    async with bench.running(reader()):
        await bench.send_many(TOPIC, [f"r{i}".encode() for i in range(6)])
        await until(lambda: all_stored(bench, 6))
    await bench.send_many(TOPIC, [b"expired"] * 99)
    await delete_up_to_the_end(bench)
    async with bench.running(reader()) as runtime:
        await until(lambda: "99 records were lost" in state(runtime).note)
        assert state(runtime).lag_records == 0
        assert state(runtime).fault is None
        await bench.send_many(TOPIC, [b"later"] * 3)
        await until(lambda: has_applied(bench, 9))
    assert "expired" not in await applied(bench)
    assert await lost_records(bench) == [(partition, 2, 35, "expired") for partition in range(3)]
    assert counted(metrics.RECORDS_LOST, topic=TOPIC.name, reason="expired") == before + 99


async def test_records_that_expired_before_any_of_their_partition_was_read_are_counted_too(bench: Bench) -> None:
    async with bench.running(reader()) as runtime:
        await until(lambda: stored_partitions(bench, 3))
        assert state(runtime).lag_records == 0
    await bench.send(TOPIC, b"expired", partition=1)
    await bench.send(TOPIC, b"expired", partition=1)
    await delete_up_to_the_end(bench)
    async with bench.running(reader()) as runtime:
        await until(lambda: "2 records were lost" in state(runtime).note)
    assert await lost_records(bench) == [(1, 0, 2, "expired")]


async def test_no_record_is_counted_as_lost_when_it_expired_before_the_first_read(bench: Bench) -> None:
    await bench.send(TOPIC, b"expired", partition=1)
    await delete_up_to_the_end(bench)
    async with bench.running(reader()) as runtime:
        await bench.send(TOPIC, b"later", partition=1)
        await until(lambda: has_applied(bench, 1))
        await runtime.consumers[0].positions.restart()
        await bench.send(TOPIC, b"last", partition=1)
        await until(lambda: has_applied_one(bench, "last"))
    assert await lost_records(bench) == []


async def stored_partitions(bench: Bench, count: int) -> bool:
    return len(await stored(bench)) == count


async def delete_up_to_the_end(bench: Bench) -> None:
    ends = await bench.ends(TOPIC)
    async with administering(bench) as admin:
        await admin.delete_records({TopicPartition(name(bench), p): RecordsToDelete(end) for p, end in ends.items()})


async def test_records_are_counted_as_lost_when_they_expire_while_the_reader_waits(bench: Bench) -> None:
    """The reader waits for its database.

    Meanwhile Kafka deletes records that it has not fetched.
    """
    taken, gate = asyncio.Event(), asyncio.Event()

    async def waits(tx: Transaction, records: Sequence[Record]) -> None:
        taken.set()
        await gate.wait()
        await apply(tx, records)

    async with bench.running(reader(waits, max_records=1)) as runtime:
        await bench.send(TOPIC, b"first", partition=0)
        await asyncio.wait_for(taken.wait(), 60)  # records expired before a reader has a position are not lost
        for _ in range(3):  # more than one fetch returns
            await bench.send(TOPIC, b"x" * 900_000, partition=0)
        await bench.send(TOPIC, b"y" * 900_000, partition=0)
        await delete_up_to_the_end(bench)
        gate.set()
        await until(lambda: has_lost(bench), what="a noted loss")
        await bench.send(TOPIC, b"later", partition=0)
        await until(lambda: has_applied_one(bench, "later"))
        await until(lambda: state(runtime).lag_records == 0)
    (loss,) = await lost_records(bench)
    assert len(await applied(bench)) + loss[2] - loss[1] == 6


async def has_lost(bench: Bench) -> bool:
    return bool(await lost_records(bench))
