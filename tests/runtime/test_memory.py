"""A batch is freed when it is applied, without the garbage collector."""

from shared.runtime.records import Record
from tests.runtime.test_delivery import TOPIC, all_stored, reader
from tests.support.drivers.runtime import Bench, until
from tests.support.garbage_cycles import freed_at_once


async def test_records_are_freed_with_their_batch_when_some_are_dead_lettered(bench: Bench) -> None:
    async with bench.running(reader(max_records=5)):
        with freed_at_once(Record):
            await bench.send_many(TOPIC, [b"a", b"b", b"crash", b"c", b"poison"] * 20)
            await until(lambda: all_stored(bench, 100))
