"""The bulk producer: one batch in flight per partition.

It reports success only after all acknowledgements.
"""

import asyncio
from typing import Any, cast

import pytest
from aiokafka.errors import KafkaConnectionError
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record import MemoryRecords
from aiokafka.record.default_records import DefaultRecordBatch
from hypothesis import given
from hypothesis import strategies as st

from shared.runtime.kafka.bulk_producer import BulkProducer, _hash
from shared.runtime.kafka.producer import BATCH_BYTES, Producer

Records = list[tuple[bytes, bytes]]


class Broker:
    """A broker whose acknowledgements the test sends."""

    def __init__(self, partitions: int = 3) -> None:
        self.count = partitions
        self.got: list[tuple[int, Records]] = []
        self.answers: list[asyncio.Future[Any]] = []

    async def partitions(self, _topic: str) -> list[int]:
        return list(range(self.count))

    def new_batch(self) -> BatchBuilder:
        return BatchBuilder(BATCH_BYTES, DefaultRecordBatch.CODEC_LZ4)

    async def send_batch(self, topic: str, partition: int, batch: BatchBuilder) -> "asyncio.Future[Any]":
        assert topic == "usage"
        batch._set_producer_state(1, 1, 0)
        read = MemoryRecords(bytes(batch._build())).next_batch()
        self.got.append((partition, [(record.value, record.key) for record in read]))
        self.answers.append(asyncio.get_running_loop().create_future())
        return self.answers[-1]


def of(partition: int, count: int = 3) -> bytes:
    """A key of this partition."""
    return next(key for n in range(1000) if _hash(key := b"k%d" % n) % count == partition)


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture
def bulk(broker: Broker) -> BulkProducer:
    return BulkProducer(cast(Producer, broker), "usage")


@given(st.binary(max_size=64), st.integers(1, 50))
def test_a_key_has_the_partition_that_kafkas_java_client_chooses(key: bytes, count: int) -> None:
    partitions = list(range(count))
    assert partitions[_hash(key) % count] == DefaultPartitioner()(key, partitions, partitions)


async def test_records_are_collected_in_order_while_a_batch_is_sent(broker: Broker, bulk: BulkProducer) -> None:
    key = of(1)
    sends = [asyncio.create_task(bulk.send([(b"first", key)]))]
    await turns()
    sends += [asyncio.create_task(bulk.send([(b"%d" % n, key), (b"%d+" % n, key)])) for n in range(3)]
    await turns()
    assert broker.got == [(1, [(b"first", key)])]
    broker.answers[0].set_result(None)
    await turns()
    assert sends[0].done()
    assert not any(one.done() for one in sends[1:])
    assert [value for value, _ in broker.got[1][1]] == [b"0", b"0+", b"1", b"1+", b"2", b"2+"]
    broker.answers[1].set_result(None)
    await asyncio.gather(*sends)


async def test_all_partitions_of_a_request_must_acknowledge(broker: Broker, bulk: BulkProducer) -> None:
    sending = asyncio.create_task(bulk.send([(b"a", of(0)), (b"b", of(2)), (b"c", of(0))]))
    await turns()
    assert broker.got == [(0, [(b"a", of(0)), (b"c", of(0))]), (2, [(b"b", of(2))])]
    broker.answers[1].set_result(None)
    await turns()
    assert not sending.done()
    broker.answers[0].set_result(None)
    await sending


async def test_waiting_records_fail_and_later_ones_are_sent_when_a_batch_fails(
    broker: Broker, bulk: BulkProducer
) -> None:
    key = of(1)
    sends = [asyncio.create_task(bulk.send([(b"a", key), (b"z", of(0))]))]
    await turns()
    sends.append(asyncio.create_task(bulk.send([(b"b", key)])))
    await turns()
    broker.answers[0].set_exception(KafkaConnectionError())
    broker.answers[1].set_result(None)
    for one in sends:
        with pytest.raises(KafkaConnectionError):
            await one
    again = asyncio.create_task(bulk.send([(b"b", key)]))
    await turns()
    broker.answers[2].set_result(None)
    await again


async def test_records_are_split_into_batches_when_they_exceed_the_batch_size(
    broker: Broker, bulk: BulkProducer
) -> None:
    key, half = of(1), b"x" * (BATCH_BYTES * 3 // 5)
    sending = asyncio.create_task(bulk.send([(half, key), (half, key), (b"y" * 3 * BATCH_BYTES, key), (b"z", key)]))
    for n in range(4):
        await turns()
        broker.answers[n].set_result(None)
    await sending
    assert [[len(value) for value, _ in records] for _, records in broker.got] == [
        [len(half)],
        [len(half)],
        [3 * BATCH_BYTES],
        [1],
    ]


async def test_sending_no_records_returns_at_once(bulk: BulkProducer) -> None:
    await bulk.send([])


async def test_other_records_are_sent_when_one_sender_is_cancelled(broker: Broker, bulk: BulkProducer) -> None:
    key = of(1)
    gone = asyncio.create_task(bulk.send([(b"a", key)]))
    stays = asyncio.create_task(bulk.send([(b"b", key)]))
    await turns()
    gone.cancel()
    await turns()
    broker.answers[0].set_result(None)
    await stays
    assert [value for value, _ in broker.got[0][1]] == [b"a", b"b"]
