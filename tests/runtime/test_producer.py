"""What is published, compressed as the settings say, is read as it was."""

import pytest
from aiokafka.record import MemoryRecords

from shared.events.topics import ALERTS_EVENTS_TOPIC
from shared.runtime.bulk import BulkProducer
from shared.runtime.kafka import Producer
from shared.runtime.outbox import Outgoing
from tests.runtime.harness import Bench

TOPIC = ALERTS_EVENTS_TOPIC.name
VALUE = b'{"compressed":"well"}' * 50
CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}


@pytest.mark.parametrize("codec", CODECS)
async def test_records_and_batches_arrive_whatever_compresses_them(bench: Bench, codec: str) -> None:
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


@pytest.mark.parametrize(("codec", "number"), CODECS.items())
def test_a_batch_is_compressed_as_the_settings_say(bench: Bench, codec: str, number: int) -> None:
    batch = Producer(bench.settings(kafka_compression=codec), "test").new_batch()
    batch.append(timestamp=None, key=b"k", value=VALUE)
    batch.close()
    batch._set_producer_state(1, 1, 0)
    built = bytes(batch._build())
    read = MemoryRecords(built).next_batch()
    assert read.compression_type == number
    assert (len(built) < len(VALUE)) == (codec != "none")
