"""Positions: records that were fetched and not applied are read again.

This is so whatever else failed.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.consumer import fetcher

from shared.events.topics import ALLOCATION_EVENTS_TOPIC, ALLOCATION_PEOPLE_TOPIC, Topic
from shared.runtime.delivery import consumer as consumer_module
from shared.runtime.delivery import progress
from shared.runtime.delivery.lag import ConsumerState
from shared.runtime.delivery.transaction import Transaction
from shared.runtime.kafka.batch_source import BatchConsumer
from shared.runtime.process import metrics
from shared.runtime.process.clock import utc_now
from shared.runtime.records import Record
from shared.runtime.service.definition import Runtime
from tests.runtime.test_delivery import all_stored, applied, apply, reader, stored
from tests.support.drivers.runtime import Bench, until
from tests.support.servers.databases import connect

TOPIC = ALLOCATION_EVENTS_TOPIC


@asynccontextmanager
async def administering(bench: Bench) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bench.kafka)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


def state(runtime: Runtime[Any]) -> ConsumerState:
    return runtime.consumers[0].state(utc_now())


def name(bench: Bench, topic: Topic = TOPIC) -> str:
    return f"{bench.prefix}{topic.name}"


async def lost_records(bench: Bench) -> list[tuple[int, int, int, str]]:
    async with connect(bench.dsn) as connection:
        rows = await connection.fetch("SELECT partition, first_offset, next_offset, reason FROM lost_records")
        return sorted(tuple(row) for row in rows)


# ---- transactions, and unreadable records ----------------------------------------------------------------------------


async def test_records_of_transactions_are_applied_and_their_markers_are_no_lag(bench: Bench) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bench.kafka, transactional_id=f"{bench.prefix}x")
    await producer.start()
    async with bench.running(reader()) as runtime:
        await bench.send_many(TOPIC, [b"before"] * 3)
        for number in range(2):
            async with producer.transaction():
                for partition in range(3):
                    await producer.send(name(bench), f"committed-{number}".encode(), partition=partition)
            await producer.begin_transaction()
            await producer.send_and_wait(name(bench), b"aborted", partition=number)
            await producer.abort_transaction()
        await bench.send_many(TOPIC, [b"after"] * 3)
        await until(lambda: has_applied(bench, 12))
        await producer.begin_transaction()
        await producer.send_and_wait(name(bench), b"last", partition=1)
        await producer.commit_transaction()
        await until(lambda: has_applied(bench, 13))
        await until(lambda: state(runtime).lag_records == 0, what="no lag behind a marker")
        ends = await bench.ends(TOPIC)
        await until(lambda: has_stored(bench, ends), what="the marker's offset stored")
        assert state(runtime).fault is None
    await producer.stop()
    wanted = Counter({"before": 3, "committed-0": 3, "committed-1": 3, "after": 3, "last": 1})
    assert Counter(await applied(bench)) == wanted


async def has_applied(bench: Bench, count: int) -> bool:
    return len(await applied(bench)) >= count


async def has_stored(bench: Bench, wanted: dict[int, int]) -> bool:
    return {partition: offset for partition, offset in (await stored(bench)).items() if offset} == wanted


@pytest.fixture
def damaged(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Flip one bit of each fetched record that contains ``damaged["now"]``.

    A faulty disk would do the same.
    """
    what: dict[str, bytes] = {}
    whole = fetcher.MemoryRecords

    def received(data: Any) -> Any:
        found = what.get("now")
        flipped = bytes([found[0] ^ 1]) + found[1:] if found else b""
        return whole(bytes(data).replace(found, flipped) if found else data)

    from shared.runtime.patches import install_record_deserializer  # noqa: PLC0415 - patches what is patched here

    install_record_deserializer()
    whole = fetcher.MemoryRecords
    monkeypatch.setattr("shared.runtime.patches.escape_header_names", lambda: None)
    monkeypatch.setattr("shared.runtime.patches.escape_header_names", lambda: None)
    monkeypatch.setattr(fetcher, "MemoryRecords", received)
    return what


@pytest.mark.parametrize("at_once", [1, 3])
async def test_only_its_partition_halts_when_a_record_is_unreadable(
    bench: Bench, damaged: dict[str, bytes], at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Records of other partitions from the same poll are applied.

    The unreadable record is skipped on request, and counted.
    """
    monkeypatch.setattr(consumer_module, "REREAD_SECONDS", 0.5)
    damaged["now"] = b"DAMAGED"
    for number in range(30):
        await bench.send_many(TOPIC, [f"{number}-{partition}".encode() for partition in range(3)])
        if number == 10:
            await bench.send(TOPIC, b"DAMAGED", partition=1)
    before = counted(metrics.RECORDS_LOST, topic=TOPIC.name, reason="skipped")

    def build(runtime: Runtime[Any]) -> None:
        runtime.consume_batch(TOPIC, *[apply] * at_once, max_records=7)

    async with bench.running(build) as runtime:
        await until(lambda: has_applied(bench, 30 + 11 + 30))
        await until(lambda: "cannot be read at offset 11" in (state(runtime).fault or ""), what="a readiness detail")
        await bench.send_many(TOPIC, [b"later"] * 3)
        await until(lambda: has_applied(bench, 30 + 11 + 30 + 2))
        await until(lambda: state(runtime).lag_records == 21, what="the lag of what follows")
        elsewhere = runtime.consumers[0].positions.of(TOPIC.name)  # as the command does, in another process
        assert await elsewhere.skip(1, 12) == 1
        await until(lambda: has_applied(bench, 93), what="the rest of the partition")
        await until(lambda: state(runtime).fault is None)
        assert state(runtime).lag_records == 0
        await until(lambda: counted(metrics.RECORDS_LOST, topic=TOPIC.name, reason="skipped") == before + 1)
    assert Counter(await applied(bench)) == Counter(
        [f"{n}-{partition}" for n in range(30) for partition in range(3)] + ["later"] * 3
    )
    assert await lost_records(bench) == [(1, 11, 12, "skipped")]


def counted(metric: Any, **labels: str) -> float:
    return float(metric.labels(**labels)._value.get())


async def test_no_record_is_lost_when_an_unreadable_partition_becomes_readable(
    bench: Bench, damaged: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumer_module, "REREAD_SECONDS", 0.5)
    damaged["now"] = b"r5"
    await bench.send_many(TOPIC, [f"r{i}".encode() for i in range(9)])
    async with bench.running(reader()) as runtime:
        await until(lambda: state(runtime).fault)
        damaged.clear()
        await until(lambda: all_stored(bench, 9))
        await until(lambda: state(runtime).fault is None)
    assert Counter(await applied(bench)) == Counter(f"r{i}" for i in range(9))
    assert await lost_records(bench) == []


# ---- the topic itself ------------------------------------------------------------------------------------------------


async def make_anew(bench: Bench, partitions: int = 3) -> None:
    """Delete the topic, and create it under the same name."""
    async with administering(bench) as admin:
        await admin.delete_topics([name(bench)])
        await until(lambda: is_gone(admin, bench), what="the topic's end")
        config = TOPIC.config()
        made = await admin.create_topics([NewTopic(name(bench), partitions, 1, topic_configs=config)])
        assert made.topic_errors[0][1] == 0, made


async def is_gone(admin: AIOKafkaAdminClient, bench: Bench) -> bool:
    return name(bench) not in await admin.list_topics()


async def send_afresh(bench: Bench, values: Sequence[bytes]) -> None:
    """Send with a new client, which has no metadata of the former topic."""
    producer = AIOKafkaProducer(bootstrap_servers=bench.kafka)
    await producer.start()
    try:
        for number, value in enumerate(values):
            await producer.send_and_wait(name(bench), value, partition=number % 3)
    finally:
        await producer.stop()


async def test_the_reader_halts_until_restarted_when_the_topic_was_recreated_while_stopped(bench: Bench) -> None:
    async with bench.running(reader()):
        await bench.send_many(TOPIC, [f"old{i}".encode() for i in range(6)])
        await until(lambda: all_stored(bench, 6))
    await make_anew(bench)
    await send_afresh(bench, [f"new{i}".encode() for i in range(30)])
    async with bench.running(reader()) as runtime:
        await until(lambda: "another topic" in (state(runtime).fault or ""))
        assert state(runtime).halted
        await runtime.consumers[0].positions.restart()
        await until(lambda: has_applied(bench, 36))
        await until(lambda: state(runtime).fault is None)
        assert state(runtime).lag_records == 0
    assert Counter(await applied(bench)) == Counter([*(f"old{i}" for i in range(6)), *(f"new{i}" for i in range(30))])


async def test_the_reader_halts_at_once_when_the_topic_is_recreated_while_read(bench: Bench) -> None:
    async with bench.running(reader()) as runtime:
        await bench.send_many(TOPIC, [f"old{i}".encode() for i in range(6)])
        await until(lambda: all_stored(bench, 6))
        await make_anew(bench)
        await until(lambda: state(runtime).halted, within_seconds=15, what="a halt")
        await send_afresh(bench, [f"new{i}".encode() for i in range(30)])
        await until(lambda: "another topic" in (state(runtime).fault or ""), within_seconds=15)
    assert not [one for one in await applied(bench) if one.startswith("new")]


async def has_applied_one(bench: Bench, wanted: str) -> bool:
    return wanted in await applied(bench)


async def test_added_partitions_are_read_within_fifteen_seconds_and_are_lag_until_then(bench: Bench) -> None:
    async with bench.running(reader()) as runtime:
        await bench.send_many(TOPIC, [b"r"] * 3)
        await until(lambda: all_stored(bench, 3))
        async with administering(bench) as admin:
            await admin.create_partitions({name(bench): NewPartitions(5)})
        producer = AIOKafkaProducer(bootstrap_servers=bench.kafka)
        await producer.start()
        await producer.send_and_wait(name(bench), b"added", partition=4)
        await producer.stop()
        await until(
            lambda: has_lag_or_applied(bench, runtime), within_seconds=8, what="the new partition's record seen"
        )
        await until(lambda: has_applied(bench, 4), within_seconds=15, what="a record of the new partition")
        await until(lambda: state(runtime).lag_records == 0)


async def has_lag_or_applied(bench: Bench, runtime: Runtime[Any]) -> bool:
    return bool(state(runtime).lag_records) or await has_applied(bench, 4)


async def test_the_check_fails_and_the_time_is_ignored_when_a_topic_takes_the_producers_time(bench: Bench) -> None:
    seen: list[Record] = []

    async def note(_: Transaction, records: Sequence[Record]) -> None:
        seen.extend(records)

    async with administering(bench) as admin:
        wrong = {"message.timestamp.type": "CreateTime", "retention.ms": "1000000000"}
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name(bench), configs=wrong)])
    producer = AIOKafkaProducer(bootstrap_servers=bench.kafka)
    await producer.start()
    await producer.send_and_wait(name(bench), b"old", partition=0, timestamp_ms=1_700_000_000_000)
    await producer.stop()
    async with bench.running(reader(note)) as runtime:
        await until(lambda: seen)
        assert abs((utc_now() - seen[0].appended_at).total_seconds()) < 60

        async def detail() -> str:
            return (await runtime.health.report())["topics"].detail

        await until(check_has(detail, "message.timestamp.type=CreateTime"))
        assert "retention.ms=1000000000 instead of -1" in await detail()
        assert not (await runtime.health.report())["topics"].ok


@pytest.mark.parametrize(
    ("compaction", "tombstones", "said"),
    [
        (1, 10**12, "as required"),
        (10**12, 10**12, "max.compaction.lag.ms=1000000000000 instead of 604800000"),
        (1, 1, "delete.retention.ms=1 instead of 3024000000"),
    ],
    ids=["sooner and longer", "late", "tombstones too short"],
)
async def test_the_check_of_a_compacted_topic_fails_when_what_was_deleted_stays_or_is_missed(
    bench: Bench, compaction: int, tombstones: int, said: str
) -> None:
    topic = ALLOCATION_PEOPLE_TOPIC
    async with administering(bench) as admin:
        configs = topic.config() | {
            "max.compaction.lag.ms": str(compaction),
            "delete.retention.ms": str(tombstones),
        }
        resource = ConfigResource(ConfigResourceType.TOPIC, f"{bench.prefix}{topic.name}", configs=configs)
        await admin.alter_configs([resource])

    def build(runtime: Runtime[Any]) -> None:
        runtime.consume_batch(topic, apply, max_records=7)

    async with bench.running(build, name="reporting") as runtime:

        async def detail() -> str:
            return (await runtime.health.report())["topics"].detail

        await until(check_has(detail, said))


def check_has(detail: Any, wanted: str) -> Any:
    async def check() -> bool:
        return wanted in await detail()

    return check


async def test_lag_has_the_age_of_the_backlog_when_it_was_never_fetched(
    bench: Bench, damaged: dict[str, bytes]
) -> None:
    """The partition cannot be read, so the age of its records must come from Kafka."""
    damaged["now"] = b"DAMAGED"
    await bench.send(TOPIC, b"DAMAGED", partition=0)
    await asyncio.sleep(4)  # the age that the lag must have
    async with bench.running(reader()) as runtime:
        await until(lambda: state(runtime).lag_seconds >= 3, within_seconds=10)
        assert state(runtime).lag_seconds < 30
        assert state(runtime).lag_records == 1


async def test_a_stall_is_a_fault_when_the_client_returns_nothing_and_not_during_a_long_batch(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "STALL_SECONDS", 1.0)
    gate, stuck = asyncio.Event(), asyncio.Event()
    poll = BatchConsumer._poll

    async def waits(tx: Transaction, records: Sequence[Record]) -> None:
        await gate.wait()
        await apply(tx, records)

    async def yields(self: BatchConsumer, timeout_ms: int, max_records: int | None) -> Any:
        if stuck.is_set():
            await asyncio.sleep(0.1)
            return {}
        return await poll(self, timeout_ms, max_records)

    monkeypatch.setattr(BatchConsumer, "_poll", yields)
    async with bench.running(reader(waits, max_records=1)) as runtime:
        await bench.send(TOPIC, b"in hand", partition=0)
        await until(runtime.consumers[0]._consumer.in_hand)
        await bench.send(TOPIC, b"behind", partition=0)
        await until(lambda: state(runtime).lag_seconds > 5, what="a batch that takes long")
        assert state(runtime).fault is None
        stuck.set()
        gate.set()
        await until(lambda: "nothing is read of partitions [0]" in (state(runtime).fault or ""))
        stuck.clear()
        await until(lambda: has_applied(bench, 2))
        await until(lambda: state(runtime).fault is None)
