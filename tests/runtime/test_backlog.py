"""The choice of the partitions whose records make a batch, on a real Kafka."""

from itertools import pairwise

from aiokafka import AIOKafkaProducer, TopicPartition

from shared.events.topics import ALLOCATION_EVENTS_TOPIC
from shared.runtime.kafka.batch_source import BACKLOG_BATCHES, BatchConsumer
from shared.runtime.patches import install_record_deserializer
from shared.runtime.records import Record
from tests.support.drivers.runtime import Bench

AT_ONCE = 20
LENGTHS = {0: 400, 1: 800, 2: 300}


async def fill(bench: Bench) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bench.kafka)
    await producer.start()
    topic = f"{bench.prefix}{ALLOCATION_EVENTS_TOPIC.name}"
    for partition, length in LENGTHS.items():
        batch = producer.create_batch()
        for number in range(length):
            batch.append(key=None, value=b"%d" % number, timestamp=None)
        await (await producer.send_batch(batch, topic, partition=partition))
    await producer.stop()


async def test_the_partition_that_is_furthest_behind_has_every_second_batch(bench: Bench) -> None:
    await fill(bench)
    install_record_deserializer()
    consumer = BatchConsumer(
        topic_prefix=bench.prefix, bootstrap_servers=bench.kafka, auto_offset_reset="earliest", group_id=None
    )
    await consumer.start()
    tps = {number: TopicPartition(f"{bench.prefix}{ALLOCATION_EVENTS_TOPIC.name}", number) for number in LENGTHS}
    consumer.assign(list(tps.values()))
    for tp in tps.values():
        consumer.seek(tp, 0)
    batches: list[dict[int, list[Record]]] = []
    while sum(len(part) for batch in batches for part in batch.values()) < sum(LENGTHS.values()):
        found = await consumer.getmany(max_records=AT_ONCE)
        consumer.applied(found)
        batches.append({tp.partition: records for tp, records in found.items()})
    await consumer.stop()
    for number, length in LENGTHS.items():
        taken = [record for batch in batches for record in batch.get(number, ())]
        assert [record.offset for record in taken] == list(range(length)), "in order, none twice"
        assert {(record.topic, record.partition) for record in taken} == {(ALLOCATION_EVENTS_TOPIC.name, number)}
    left = dict(LENGTHS)
    of_furthest = []
    for batch in batches:
        assert sum(map(len, batch.values())) <= AT_ONCE
        if max(left.values()) >= BACKLOG_BATCHES * AT_ONCE:
            of_furthest.append(any(left[number] == max(left.values()) for number in batch))
        for number, records in batch.items():
            left[number] -= len(records)
    assert len(of_furthest) > 50
    assert all(one or other for one, other in pairwise(of_furthest))
    assert of_furthest.count(False) > 5, "the others have their turns"
