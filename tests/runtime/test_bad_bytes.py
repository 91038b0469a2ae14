"""Records with bytes that usual clients never write.

They are applied or dead-lettered, and reading goes on.
"""

import struct
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.producer.message_accumulator import MessageBatch
from aiokafka.record.util import calc_crc32c

from shared.events.topics import ALLOCATION_EVENTS_TOPIC
from shared.runtime.delivery.transaction import PermanentError
from tests.runtime.test_delivery import DEAD, all_stored, applied, reader
from tests.support.drivers.runtime import Bench, until

CRC_AT, CRC_OVER = 17, 21
"""Position of the checksum in a record batch (magic 2).

The second is the position of the bytes that it covers.
"""


@pytest.fixture
def bad_header_names(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Replace the name of the header QQ by bytes that are not UTF-8, in a valid batch."""
    buffer_of = MessageBatch.get_data_buffer

    def patched(self: Any) -> bytearray:
        data = bytearray(buffer_of(self)).replace(b"QQ", b"\xff\xfe")
        data[CRC_AT:CRC_OVER] = struct.pack(">I", calc_crc32c(bytes(data[CRC_OVER:])))
        return data

    monkeypatch.setattr(MessageBatch, "get_data_buffer", patched)
    return monkeypatch


@pytest.mark.usefixtures("bad_header_names")
async def test_all_records_are_applied_when_a_header_name_is_not_utf8(bench: Bench) -> None:
    topic = ALLOCATION_EVENTS_TOPIC
    await bench.send(topic, b"a")
    await bench.send(topic, b"bad", headers=[("QQ", b"v")])
    await bench.send(topic, b"b")
    async with bench.running(reader()):
        await until(lambda: all_stored(bench, 3))
    assert await applied(bench) == ["a", "bad", "b"]


async def refuse_all(*_: object) -> None:
    raise PermanentError("refused", "nothing is good enough")


async def test_the_largest_record_and_odd_headers_fit_among_the_dead_letters(bench: Bench) -> None:
    topic = ALLOCATION_EVENTS_TOPIC
    largest = b"x" * (1024 * 1024 - 200)
    await bench.send(topic, largest)
    await bench.send(topic, b"odd", headers=[("none", None), ("", b""), ("h", b"1"), ("h", b"2")])  # type: ignore[list-item]
    async with bench.running(reader(refuse_all)):
        await until(lambda: all_stored(bench, 2))

        async def both() -> list[Any]:
            records = await bench.records(DEAD)
            return records if len(records) == 2 else []

        big, odd = await until(both)
    assert big.value == largest
    assert odd.headers[:4] == (("none", b""), ("", b""), ("h", b"1"), ("h", b"2"))


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
async def test_every_compression_that_a_platform_may_use_is_read(bench: Bench, codec: str) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bench.kafka, compression_type=codec)
    await producer.start()
    topic = f"{bench.prefix}{ALLOCATION_EVENTS_TOPIC.name}"
    await producer.send_and_wait(topic, b"compressed" * 100, partition=0)
    await producer.stop()
    async with bench.running(reader()):
        await until(lambda: all_stored(bench, 1))
    assert await applied(bench) == ["compressed" * 100]
