"""Redrive: dead letters applied again after their cause was repaired.

They are applied by the service that could not apply them before.

They do not return to their topic, which has other readers that have applied them. They are set aside, due for a retry.
"""

from collections.abc import AsyncIterator, Iterable, Sequence

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from shared.events.topics import TOPICS, ServiceName
from shared.runtime.delivery import offsets, set_aside
from shared.runtime.delivery.batch_runner import DEAD_LETTER_PREFIX
from shared.runtime.delivery.offsets import Moved
from shared.runtime.kafka.client import client_arguments, partitions_of
from shared.runtime.patches import instant
from shared.runtime.process.settings import S
from shared.runtime.records import Record
from shared.runtime.service.definition import Runtime

BATCH = 500


def dead_letter_topics(service: ServiceName) -> list[str]:
    """The dead-letter topics of a service, without the installation's prefix."""
    return [topic.dead_letters(service).name for topic in TOPICS if service in topic.readers]


async def redrive(runtime: Runtime[S], topics: Iterable[str] | None = None) -> AsyncIterator[tuple[str, int, int]]:
    """Set present dead letters aside, each once, for the running service to apply.

    The position is stored in the same transaction, so that an interrupted redrive resumes. Yields the topic, how many
    were taken, and how many there are.
    """
    for topic in dead_letter_topics(runtime.name) if topics is None else topics:
        async for done, total in _redrive_topic(runtime, topic):
            yield topic, done, total


async def _redrive_topic(runtime: Runtime[S], topic: str) -> AsyncIterator[tuple[int, int]]:
    client, reader = f"{runtime.name}-replay", f"{runtime.name}.replay"
    partitions = await partitions_of(runtime.settings, client, [topic])
    if not partitions:
        return
    consumer = AIOKafkaConsumer(**client_arguments(runtime.settings, client), enable_auto_commit=False)
    await consumer.start()
    try:
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        begins = await consumer.beginning_offsets(partitions)
        stored = await offsets.load(runtime.pool, reader, topic)
        nexts = {tp: max(stored.get(tp.partition, 0), begins[tp]) for tp in partitions}
        for tp, offset in nexts.items():
            consumer.seek(tp, offset)
        total, done = sum(max(0, ends[tp] - nexts[tp]) for tp in partitions), 0
        yield done, total
        while any(nexts[tp] < ends[tp] for tp in partitions):
            polled = await consumer.getmany(timeout_ms=1000, max_records=BATCH)
            taken = [one for tp, some in polled.items() for one in some if one.offset < ends[tp]]
            for tp in partitions:
                nexts[tp] = max(nexts[tp], min(ends[tp], await consumer.position(tp)))
            await _set_aside(runtime, topic, taken, nexts)
            done += len(taken)
            yield done, total
    finally:
        await consumer.stop()


async def _set_aside(
    runtime: Runtime[S], topic: str, taken: Sequence[ConsumerRecord], nexts: dict[TopicPartition, int]
) -> None:
    reader = f"{runtime.name}.replay"
    async with runtime.transaction() as tx:
        await offsets.lock(tx.connection, reader, topic, {tp.partition for tp in nexts})
        records = [_original(one, topic.removesuffix(f".{runtime.name}.dlq")) for one in taken]
        for original in {record.topic for record in records}:
            of_topic = [record for record in records if record.topic == original]
            await set_aside.add_due(tx.connection, runtime.name, original, of_topic)
        tx.advance(Moved(reader, topic, {tp.partition: offset for tp, offset in nexts.items()}))


def _original(record: ConsumerRecord, original_topic: str) -> Record:
    """Return the record as received, made of its dead letter.

    The dead letter's headers, which name topic, partition and offset, are removed. The time is the dead letter's own.
    """
    said = {
        name.removeprefix(DEAD_LETTER_PREFIX): (value or b"").decode(errors="replace")
        for name, value in record.headers
        if name.startswith(DEAD_LETTER_PREFIX)
    }
    headers = tuple((name, value) for name, value in record.headers if not name.startswith(DEAD_LETTER_PREFIX))
    return Record(
        said.get("topic", original_topic),
        int(said.get("partition", 0)),
        int(said.get("offset", 0)),
        record.key,
        record.value,
        headers,
        instant(record.timestamp),
    )
