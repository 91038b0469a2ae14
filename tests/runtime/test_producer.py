"""Records are read as they were published, with every compression."""

import pytest

from shared.events.topics import ALERTS_EVENTS_TOPIC
from shared.runtime.kafka.bulk_producer import BulkProducer
from shared.runtime.kafka.producer import Producer
from shared.runtime.records import Outgoing
from tests.support.drivers.runtime import Bench

TOPIC = ALERTS_EVENTS_TOPIC.name
VALUE = b'{"compressed":"well"}' * 50


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
async def test_records_and_batches_arrive_with_every_compression(bench: Bench, codec: str) -> None:
    producer = Producer(bench.settings(kafka_compression=codec), "test")
    await producer.start()
    assert await producer.send_all([Outgoing(TOPIC, b"k", VALUE), Outgoing(TOPIC, b"k", None)]) == [None, None]
    await BulkProducer(producer, TOPIC).send([(VALUE, b"k"), (b"", b"k")])
    await producer.stop()
    assert [(record.key, record.value) for record in await bench.records(TOPIC)] == [
        (b"k", VALUE),
        (b"k", None),
        (b"k", VALUE),
        (b"k", b""),
    ]
